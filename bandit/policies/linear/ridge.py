"""Ridge regressions, one a variant, exact after every event, in two ways side by side: steady and tracking.

Each variant's rewards, less the mean of all rewards, are w . x + noise with the prior w ~ N(0, noise ** 2 /
RIDGES I): Bayesian linear regression by rank-one updates (Sherman and Morrison 1950), O(d ** 2) an event. P
is the covariance of w in units of the noise's variance, so a prediction's standard error is noise * sqrt(x' P
x).

The tracking one takes w for a random walk: between two events of a variant, P grows by DRIFT for every event
that was learned meanwhile, up to the prior (a Kalman filter; Harvey, Forecasting, Structural Time Series
Models and the Kalman Filter, 1989, ch. 3). It forgets what it has not seen for long and explores it again.

Covariances are of single precision, since moving them through the caches is what an event costs: expectations
are exact to 1e-5, and from some 40,000 events of a variant on the steady regression averages over about the
last 30,000. Vectors are too short for NumPy's linear algebra to share them among threads, so the same events
give the same bits in every process of a machine; another kind of processor may round otherwise.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

CONSTANT_RIDGE: Final = 10.0
"""The prior's precision of a variant's own level, in units of the noise's: as if so many events were average.
"""

RIDGES: Final = (30.0, 10.0)
"""That of what a feature adds to it, by way. Higher: less is made of a feature until it has proved itself."""

DRIFT: Final = 1e-4
MEAN_EVENTS: Final = 2_000
"""The tracking regression's mean reward is that of about the last so many events."""

NUMBERS_MAX: Final = 1 << 20
"""All covariances together hold at most so many numbers, 4 MB, and as many again in reserve. A variant that
finds no room is learned together with all others that found none.
"""

STEADY, TRACKING = 0, 1
_WAYS: Final = 2


class Ridges:
    """Regressions by the number of a variant, 0 to rows - 1. Row 0 is that of variants without one of their
    own.
    """

    def __init__(self, size: int) -> None:
        """One row; vectors of `size` numbers."""
        self.rows = 1
        self.size = size
        self.events = 0
        self.means = [0.0] * _WAYS
        self._prior = _prior(size)
        self._tracking_prior = self._prior[TRACKING]
        self._covariance = _unlearned(1, size)
        self._weights = np.zeros((1, _WAYS, size))
        self._learned_at = np.zeros(1)
        self._buffer = np.zeros((_WAYS, size, size), np.float32)
        self._views: dict[int, tuple[F32, F32, F64]] = {}

    def has_room(self, rows: int, size: int) -> bool:
        """Whether `rows` rows of `size` numbers may be kept."""
        return rows * _WAYS * size * size <= NUMBERS_MAX

    def add_row(self) -> int:
        """A new row, that knows nothing; its number."""
        if self.rows == len(self._weights):
            more = max(4, self.rows)
            self._covariance = np.concatenate([self._covariance, _unlearned(more, self.size)])
            self._weights = np.concatenate([self._weights, np.zeros((more, _WAYS, self.size))])
            self._learned_at = np.concatenate([self._learned_at, np.zeros(more)])
            self._views.clear()
        self._learned_at[self.rows] = self.events
        self.rows += 1
        return self.rows - 1

    def grow(self, size: int) -> None:
        """Vectors of more numbers from now on."""
        old = self.size
        covariance = _unlearned(len(self._weights), size)
        covariance[:, :, :old, :old] = self._covariance
        weights = np.zeros((len(self._weights), _WAYS, size))
        weights[:, :, :old] = self._weights
        self._covariance, self._weights, self.size = covariance, weights, size
        self._prior = _prior(size)
        self._tracking_prior = self._prior[TRACKING]
        self._buffer = np.zeros((_WAYS, size, size), np.float32)
        self._views.clear()

    def predict(self, x: F64, rows: Any, way: int) -> tuple[F64, F64]:
        """(expected rewards, their variances in units of the noise's) for a vector and rows: an array of
        numbers, or a slice, which is faster.
        """
        means = self._weights[rows, way] @ x + self.means[way]
        single = x.astype(np.float32)
        variances = np.maximum((self._covariance[rows, way] @ single) @ single, 0.0)
        if way == TRACKING:
            grown = DRIFT * (x @ x) * (self.events - self._learned_at[rows])
            variances = np.minimum(variances + grown, self.prior_variance(x, way))
        return means, variances

    def prior_variance(self, x: F64, way: int) -> float:
        """The variance of what is expected of a variant that nothing is known of."""
        return float((x * x) @ self._prior[way])

    def learn(self, x: F64, row: int, reward: float) -> tuple[list[float], list[float]]:
        """Learns a reward; (what each way expected, and 1 + its variance in units of the noise's)."""
        # Every joined event comes by here: few calls, and no new array of the covariance's size.
        self.events += 1
        covariance, diagonal, weights = self._views.get(row) or self._view(row)
        diagonal += DRIFT * (self.events - self._learned_at[row])
        self._learned_at[row] = self.events
        np.minimum(diagonal, self._tracking_prior, out=diagonal)
        single = x.astype(np.float32)
        spread = np.dot(covariance, single)
        # Of two numbers plain Python is the faster calculator.
        scales = [1.0 + variance for variance in np.dot(spread, single).tolist()]
        expected = [mean + value for mean, value in zip(self.means, np.dot(weights, x).tolist(), strict=True)]
        roots = [math.sqrt(scale) for scale in scales]
        spread /= np.array(roots, np.float32)[:, None]
        # Written so that the covariance stays symmetric to the last bit: a file holds one half of it.
        np.multiply(spread[:, :, None], spread[:, None, :], out=self._buffer)
        covariance -= self._buffer
        surprise = [(reward - each) / root for each, root in zip(expected, roots, strict=True)]
        weights += spread * np.array(surprise)[:, None]
        steady, tracking = self.means
        steady += (reward - steady) / self.events
        tracking += (reward - tracking) / min(self.events, MEAN_EVENTS)
        self.means = [steady, tracking]
        return expected, scales

    def _view(self, row: int) -> tuple[F32, F32, F64]:
        """A row's covariances, the diagonal of the tracking one, and its weights: to be written to."""
        covariance = self._covariance[row]
        diagonal = covariance[TRACKING].reshape(-1)[:: self.size + 1]
        self._views[row] = covariance, diagonal, self._weights[row]
        return self._views[row]

    def array(self) -> F64:
        """All numbers as one array, for a file."""
        upper = np.triu_indices(self.size)
        return np.concatenate(
            [
                [self.rows, self.size, self.events, *self.means],
                self._learned_at[: self.rows],
                self._weights[: self.rows].reshape(-1),
                self._covariance[: self.rows][:, :, upper[0], upper[1]].reshape(-1),
            ]
        )

    @classmethod
    def restored(cls, array: F64) -> "Ridges":
        """The regressions that `array` came from. Raises ValueError if it can't be."""
        if array.ndim != 1 or array.dtype != np.float64 or len(array) < 5:
            raise ValueError("it is not an array of regressions")
        rows, size, events = (int(number) for number in array[:3])
        half = size * (size + 1) // 2
        if rows < 1 or size < 1 or len(array) != 5 + rows * (1 + _WAYS * (size + half)):
            raise ValueError("its length is not what its head says")
        found = cls(size)
        found.rows, found.events = rows, events
        found.means = array[3:5].tolist()
        learned, weights, covariance = np.split(array[5:], [rows, rows + rows * _WAYS * size])
        found._learned_at = learned.copy()
        found._weights = weights.reshape(rows, _WAYS, size).copy()
        upper = np.triu_indices(size)
        full = np.zeros((rows, _WAYS, size, size), np.float32)
        full[:, :, upper[0], upper[1]] = covariance.reshape(rows, _WAYS, half)
        full[:, :, upper[1], upper[0]] = covariance.reshape(rows, _WAYS, half)
        found._covariance = full
        return found


def _prior(size: int) -> F32:
    """The prior's variances, shape (ways, size)."""
    prior = np.repeat(1.0 / np.array(RIDGES)[:, None], size, axis=1)
    prior[:, 0] = 1.0 / CONSTANT_RIDGE
    return prior.astype(np.float32)


def _unlearned(rows: int, size: int) -> F32:
    covariance = np.zeros((rows, _WAYS, size, size), np.float32)
    covariance[:, :, np.arange(size), np.arange(size)] = _prior(size)
    return covariance


def rows_of(numbers: Sequence[int]) -> Any:
    """Row numbers as `predict` takes them: a slice where they follow each other."""
    first = numbers[0] if numbers else 0
    if list(numbers) == list(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return np.array(numbers)
