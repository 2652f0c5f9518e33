"""Ridge regressions, one a variant, exact after every event, in two ways side by side: steady and tracking.

Each variant's rewards, less the mean of all rewards, are w . x + noise with the prior w ~ N(0, noise ** 2 /
RIDGES I): Bayesian linear regression by rank-one updates (Sherman and Morrison 1950), O(d ** 2) an event. P
is the covariance of w in units of the noise's variance, so a prediction's standard error is noise * sqrt(x' P
x).

The tracking one takes w for a random walk: between two events of a variant, P grows by DRIFT for every event
that was learned meanwhile, up to the prior (a Kalman filter; Harvey, Forecasting, Structural Time Series
Models and the Kalman Filter, 1989, ch. 3). It forgets what it has not seen for long and explores it again.

All is of single precision, since moving it through the caches is what an event costs: expectations are exact
to 1e-5, and from some 40,000 events of a variant on the steady regression averages over about the last
30,000. Vectors are too short for NumPy's linear algebra to share them among threads, so the same events
give the same bits in every process of a machine; another kind of processor may round otherwise.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]

CONSTANT_RIDGE: Final = 10.0
"""The prior's precision of a variant's own level, in units of the noise's: as if so many events were average.
"""

RIDGES: Final = (30.0, 10.0)
"""That of what a feature adds to it, by way. Higher: less is made of a feature until it has proved itself."""

DRIFT: Final = 1e-4
MEAN_EVENTS: Final = 2_000
"""The tracking regression's mean reward is that of about the last so many events."""

FORGOTTEN_MEAN_EVENTS: Final = 10
"""After `forget` the mean counts as that of so many events."""

NUMBERS_MAX: Final = 1 << 20
"""All covariances together hold at most so many numbers, 4 MB, and as many again in reserve. A variant that
finds no room is learned together with all others that found none.
"""

STEADY, TRACKING = 0, 1
_WAYS: Final = 2
_HEAD: Final = 6
_SIZES_KEPT: Final = 8
_ASKED_KEPT: Final = 8

_Asked = tuple[F32, F32, F32, F32]
"""What is learned of some rows, live, as one matrix; where its products with a vector go; and, of these, the
parts that tell variances and weights.
"""


class Ridges:
    """Regressions by the number of a variant, 0 to rows - 1. Row 0 is that of variants without one of their
    own.

    Of each, one array (size + 1, size) holds the covariance and, as its last line, the weights: [P; w] x is
    all that a prediction needs, and one product moves both by what was learned.
    """

    def __init__(self, size: int) -> None:
        """One row; vectors of `size` numbers."""
        self.rows = 1
        self.size = size
        self.events = 0
        self.means = [0.0] * _WAYS
        self._tracked = 0
        self._learned = _unlearned(1, size)
        self._learned_at = [0]
        self._shape()

    def _shape(self) -> None:
        """What depends on how large the arrays are."""
        size = self.size
        self._tracking_prior = _prior(size)[TRACKING]
        self._views: dict[int, tuple[F32, F32, F32]] = {}
        self._asked: dict[tuple[int, int, int], _Asked] = {}
        self._change = np.empty((size + 1, size), np.float32)
        self._product = np.empty(size + 1, np.float32)
        self._spread = self._product[:size]
        self._column, self._line = self._product[:, None], self._product[None, :size]

    def has_room(self, rows: int, size: int) -> bool:
        """Whether `rows` rows of `size` numbers may be kept."""
        return rows * _WAYS * size * size <= NUMBERS_MAX

    def add_row(self) -> int:
        """A new row, that knows nothing; its number."""
        kept = self._learned.shape[1]
        if self.rows == kept:
            more = _unlearned(max(4, kept), self.size)
            self._learned = np.concatenate([self._learned, more], axis=1)
            self._shape()
        self._learned_at.append(self.events)
        self.rows += 1
        return self.rows - 1

    def grow(self, size: int) -> None:
        """Vectors of more numbers from now on."""
        old, before = self.size, self._learned
        self._learned = _unlearned(before.shape[1], size)
        self._learned[:, :, :old, :old] = before[:, :, :old]
        self._learned[:, :, size, :old] = before[:, :, old]
        self.size = size
        self._shape()

    def predict(self, x: F32, rows: Any, way: int) -> tuple[list[float], list[float]]:
        """(expected rewards, their variances in units of the noise's) for a vector and rows: an array of
        numbers, or a slice, which is faster.
        """
        # Every decision comes by here: few calls, and of a few numbers plain Python is the faster calculator.
        if isinstance(rows, slice):
            asked = self._asked.get((rows.start, rows.stop, way)) or self._ask(rows, way)
            at = self._learned_at[rows]
        else:
            asked = self._asked_of(self._learned[way, rows])
            at = [self._learned_at[row] for row in rows]
        learned, products, spreads, weights = asked
        learned.dot(x, products)
        mean = self.means[way]
        means = [mean + value for value in weights.tolist()]
        variances: list[float] = spreads.dot(x).tolist()
        if way == STEADY:
            return means, [variance if variance > 0.0 else 0.0 for variance in variances]
        squares = float(x.dot(x))
        drift, most, now = DRIFT * squares, self._prior_variance(x, squares, way), self.events
        return means, [
            walked
            if (walked := (variance if variance > 0.0 else 0.0) + drift * (now - then)) < most
            else most
            for variance, then in zip(variances, at, strict=True)
        ]

    def _ask(self, rows: slice, way: int) -> _Asked:
        """What predicts for rows that follow each other, made once."""
        key = rows.start, rows.stop, way
        if len(self._asked) >= _ASKED_KEPT:
            self._asked.clear()
        self._asked[key] = asked = self._asked_of(self._learned[way, rows])
        return asked

    def _asked_of(self, learned: F32) -> _Asked:
        size = self.size
        products = np.empty((len(learned), size + 1), np.float32)
        return learned.reshape(-1, size), products.reshape(-1), products[:, :size], products[:, size]

    def prior_variance(self, x: F32, way: int) -> float:
        """The variance of what is expected of a variant that nothing is known of."""
        return self._prior_variance(x, float(x.dot(x)), way)

    def _prior_variance(self, x: F32, squares: float, way: int) -> float:
        constant = float(x[0]) ** 2
        return constant / CONSTANT_RIDGE + (squares - constant) / RIDGES[way]

    def learn(self, x: F32, row: int, reward: float) -> tuple[list[float], list[float]]:
        """Learns a reward; (what each way expected, and 1 + its variance in units of the noise's)."""
        # Every joined event comes by here: few calls, no new array of the covariance's size, and of single
        # numbers plain Python is the faster calculator.
        self.events += 1
        *both, diagonal = self._views.get(row) or self._view(row)
        diagonal += DRIFT * (self.events - self._learned_at[row])
        self._learned_at[row] = self.events
        np.minimum(diagonal, self._tracking_prior, out=diagonal)
        product, spread, change, size = self._product, self._spread, self._change, self.size
        expected, scales = [], []
        for learned, mean in zip(both, self.means, strict=True):
            np.dot(learned, x, out=product)
            scale = 1.0 + float(np.dot(spread, x))
            known = mean + float(product[size])
            product[size] = known - reward
            # Shared between both factors, so that the covariance stays symmetric to the last bit: a file
            # holds one half of it.
            product *= 1.0 / math.sqrt(scale)
            np.dot(self._column, self._line, out=change)
            learned -= change
            expected.append(known)
            scales.append(scale)
        steady, tracking = self.means
        steady += (reward - steady) / self.events
        self._tracked = min(self._tracked + 1, MEAN_EVENTS)
        tracking += (reward - tracking) / self._tracked
        self.means = [steady, tracking]
        return expected, scales

    def forget(self) -> None:
        """Lets the tracking regressions know nothing again, but for the mean, which soon follows."""
        tracking = self._learned[TRACKING]
        tracking[:] = _unlearned(len(tracking), self.size)[TRACKING]
        self._tracked = min(self._tracked, FORGOTTEN_MEAN_EVENTS)
        self._learned_at = [self.events] * self.rows

    def _view(self, row: int) -> tuple[F32, F32, F32]:
        """What is learned of a row in both ways, and the diagonal of the tracking covariance: live."""
        steady, tracking = self._learned[STEADY, row], self._learned[TRACKING, row]
        diagonal = tracking[: self.size].reshape(-1)[:: self.size + 1]
        self._views[row] = steady, tracking, diagonal
        return self._views[row]

    def array(self) -> Bytes:
        """All numbers as one array of bytes, for a file. In double precision: rows, size, events, of how many
        the tracking mean is, the means, and when each row was last learned of. In single precision, by way
        and row: the covariance's upper half and the weights.
        """
        head = [self.rows, self.size, self.events, self._tracked, *self.means, *self._learned_at]
        told, _ = _places(self.size)
        learned = self._learned[:, : self.rows].reshape(_WAYS, self.rows, -1)[:, :, told]
        return np.concatenate([np.array(head, np.float64).view(np.uint8), learned.reshape(-1).view(np.uint8)])

    @classmethod
    def restored(cls, array: Bytes | F64) -> "Ridges":
        """The regressions that `array` came from. Raises ValueError or OverflowError if it can't be."""
        if array.ndim != 1 or array.dtype not in (np.uint8, np.float64):
            raise ValueError("it is not an array of regressions")
        numbers = array.view(np.float64)
        if len(numbers) < _HEAD:
            raise ValueError("it ends within its head")
        rows, size, events, tracked = (int(number) for number in numbers[:4])
        learned_at, learned = numbers[_HEAD : _HEAD + rows], numbers[_HEAD + rows :]
        doubles = array.dtype == np.float64
        number_bytes = 8 if doubles else 4
        if rows < 1 or size < 1 or learned.nbytes != _WAYS * rows * (size + _half(size)) * number_bytes:
            raise ValueError("its length is not what its head says")
        each = _of_doubles(learned, rows, size) if doubles else learned.view(np.float32)
        _, places = _places(size)
        found = cls(size)
        found.rows, found.events, found._tracked = rows, events, tracked
        found.means = numbers[4:_HEAD].tolist()
        found._learned_at = [int(number) for number in learned_at]
        whole = each.reshape(_WAYS * rows, -1).take(places, axis=1)
        found._learned = whole.reshape(_WAYS, rows, size + 1, size)
        return found


def _half(size: int) -> int:
    """How many numbers one half of a symmetric matrix has, with its diagonal."""
    return size * (size + 1) // 2


@lru_cache(maxsize=_SIZES_KEPT)
def _places(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """What a file holds of a row's (size + 1, size) numbers, by their place among them; and for each of them
    its place in the file.
    """
    upper = np.triu_indices(size)
    whole = np.empty((size + 1, size), np.intp)
    whole[upper] = np.arange(_half(size))
    whole.T[:, :size][upper] = whole[upper]
    whole[size] = _half(size) + np.arange(size)
    told = np.append(np.ravel_multi_index(upper, whole.shape), size * size + np.arange(size))
    return told, whole.reshape(-1)


def _of_doubles(learned: F64, rows: int, size: int) -> F32:
    """A file's rows from those of the first files: all of double precision, the weights of all rows first."""
    weights, covariances = np.split(learned, [_WAYS * rows * size])
    each = [part.reshape(_WAYS * rows, -1) for part in (covariances, weights)]
    return np.concatenate(each, axis=1).astype(np.float32)


def _prior(size: int) -> F32:
    """The prior's variances, shape (ways, size)."""
    prior = np.repeat(1.0 / np.array(RIDGES)[:, None], size, axis=1)
    prior[:, 0] = 1.0 / CONSTANT_RIDGE
    return prior.astype(np.float32)


def _unlearned(rows: int, size: int) -> F32:
    """Shape (ways, rows, size + 1, size)."""
    learned = np.zeros((_WAYS, rows, size + 1, size), np.float32)
    learned[:, :, np.arange(size), np.arange(size)] = _prior(size)[:, None]
    return learned


def rows_of(numbers: Sequence[int]) -> Any:
    """Row numbers as `predict` takes them: a slice where they follow each other."""
    first = numbers[0] if numbers else 0
    if list(numbers) == list(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return np.array(numbers)
