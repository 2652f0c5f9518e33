"""Which signals matter: sums by signal, value and variant as a log streams by, and what they say in the end.

See `bandit.replay.heterogeneity` for the test. Every value that is told apart is one test, a number is one,
and that a signal was absent is one; the p values are corrected for all tests of the page (Holm).
Rows of both arms count: what a variant earns in a context is the same in both. Of the rows of one subject the
first with each variant counts, for rows of one subject are no news of each other.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from bandit.core.experiment import Experiment
from bandit.core.records import Features, FeatureValue, JoinedEvent
from bandit.replay.columns import F64, I64
from bandit.replay.heterogeneity import POWERS, Difference, difference, holm, indicator_sums, skewness, slopes
from bandit.replay.heterogeneity import sums as number_sums
from bandit.replay.quantiles import normal_quantile
from bandit.replay.seen import Seen

Verdict = Literal["matters", "no_sign", "too_few_rows"]

ALPHA: Final = 0.05
"""The chance that any signal of a page is said to matter though none does."""

POWER: Final = 0.8
"""The probability with which a difference of the size `visible` would have been found."""

SMALL: Final = 0.25
"""What did not show says nothing where a difference of this many standard deviations of the reward, or as
large as the mean reward itself (to the nearer end of its range), might not have shown either."""

SIGNALS_MAX: Final = 200
VALUES_MAX: Final = 20
"""Values of one signal that are told apart, the first that come; all later ones are one."""

VARIANTS_MAX: Final = 50
VARIANTS_COUNTED: Final = 1_000
SUBJECTS_MAX: Final = 4_000_000
"""Subjects times variants, 8 bytes each; new ones after so many are left out."""

BATCH_ROWS: Final = 1_024
FAR: Final = 8.0
"""Numbers farther from the mean of the first ones, in their standard deviations, are brought back to it."""

HEAVIEST: Final = 1e6
MEMORY: Final = 0.8
"""How much of what was known of the weights' spread is kept at the next batch."""

ABSENT: Final = "(absent)"
OTHER: Final = "(other)"


@dataclass(frozen=True, slots=True)
class Mattering:
    """What a log says of one signal.

    `p` is the smallest of its corrected p values; None if nothing of it could be tested. There it shows most:
    at the value `value` (None: it is a number, and it is its slope), between `variants`, of which the first
    gains more by it; None where there is no test. `rows` had the signal, of those that counted. `visible` is
    how far, in the reward's unit, two variants' gains by a value (by a standard deviation of a number) must
    be apart to be found with probability POWER: with the median of the tests' standard errors.
    """

    signal: str
    verdict: Verdict
    p: float | None
    value: str | None
    variants: tuple[str, str] | None
    rows: int
    visible: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "signal": self.signal,
            "verdict": self.verdict,
            "p": self.p,
            "value": self.value,
            "variants": None if self.variants is None else list(self.variants),
            "rows": self.rows,
            "visible": self.visible,
        }


@dataclass(frozen=True, slots=True)
class Matters:
    """What a log says of all its signals: those that matter first, by their p values.

    `rows` counted; `weighted` tells whether any had a propensity. `more_signals` and `more_variants` tell
    that some are not among them.
    """

    signals: tuple[Mattering, ...] = ()
    rows: int = 0
    weighted: bool = False
    more_signals: bool = False
    more_variants: bool = False


class _Row(NamedTuple):
    variant: str
    reward: float
    weight: float
    subject: str
    context: Features


class _Batch(NamedTuple):
    """Rows with a slot: `terms` are w rʲ and w² rʲ, shape (2, 3, rows)."""

    slot: I64
    reward: F64
    weight: F64
    terms: F64
    contexts: Sequence[Features]


class Signals:
    """Takes events as they pass. What is kept does not grow with them, but for 8 bytes a subject."""

    def __init__(self, experiment: Experiment, metric: str = "") -> None:
        """`metric` names a secondary metric that is judged instead of the reward, if there is one."""
        found = experiment.metrics.get(metric)
        self._metric = "" if found is None else metric
        self._low, self._high = experiment.reward.range if found is None else found.range
        self._open = experiment.signals == "open"
        declared = [] if experiment.signals == "open" else list(experiment.signals)
        self._signals = {name: _Sums() for name in declared[:SIGNALS_MAX]}
        self._more_signals = len(declared) > SIGNALS_MAX
        self._pending: list[_Row] = []
        self._seen = Seen()
        self._subjects = 0
        self._served: Counter[str] = Counter()
        self._slots: dict[str, int] = {}
        self._more_variants = False
        self._centre: float | None = None
        self._spread: F64 | None = None
        self._weighted = False
        self._whole = np.zeros((2, 3, VARIANTS_MAX))
        self._powers = np.zeros((4, VARIANTS_MAX))

    def take(self, event: JoinedEvent) -> None:
        """Takes one event."""
        value = event.metrics.get(self._metric) if self._metric else event.reward
        if value is None:
            return
        decision = event.decision
        propensity = decision.distribution[decision.chosen]
        weight = 1.0
        if 0.0 < propensity <= 1.0:
            weight = min(1.0 / propensity, HEAVIEST)
            self._weighted = True
        if decision.pdrop:
            weight /= 1.0 - decision.pdrop
        self._pending.append(
            _Row(
                decision.variants[decision.chosen].id,
                min(max(value, self._low), self._high),
                weight,
                decision.subject,
                decision.context,
            )
        )
        if len(self._pending) >= BATCH_ROWS:
            self._put_away()

    def matters(self) -> Matters:
        """What was found until now."""
        self._put_away()
        variants = {slot: variant for variant, slot in self._slots.items()}
        skew = skewness(*self._powers)
        tests: list[tuple[str, str | None, Difference]] = []
        for name, signal in self._signals.items():
            for value, found in signal.tests(self._whole, self._powers[0]):
                tested = difference(slopes(found), skew)
                if tested is not None:
                    tests.append((name, value, tested))
        corrected = holm([tested.p for _, _, tested in tests])
        best: dict[str, tuple[float, float, str | None, Difference]] = {}
        errors: dict[str, list[float]] = {}
        quantiles = normal_quantile(1 - ALPHA / (2 * max(len(tests), 1))) + normal_quantile(POWER)
        for (name, value, tested), p in zip(tests, corrected, strict=True):
            errors.setdefault(name, []).append(tested.error)
            if name not in best or (p, tested.p) < best[name][:2]:
                best[name] = (p, tested.p, value, tested)
        small = self._small()
        signals = []
        for name, signal in self._signals.items():
            rows = int(signal.rows.sum())
            if name not in best:
                signals.append(Mattering(name, "too_few_rows", None, None, None, rows))
                continue
            p, _, value, tested = best[name]
            pair = (variants[tested.pair[0]], variants[tested.pair[1]])
            visible = quantiles * median(errors[name]) * (self._high - self._low)
            verdict: Verdict = "no_sign" if visible <= small else "too_few_rows"
            if p < ALPHA:
                verdict = "matters"
            signals.append(Mattering(name, verdict, p, value, pair, rows, visible))
        order: dict[Verdict, int] = {"matters": 0, "no_sign": 1, "too_few_rows": 2}
        raw = {name: found[1] for name, found in best.items()}
        signals.sort(key=lambda one: (order[one.verdict], raw.get(one.signal, 2.0), one.signal))
        return Matters(
            signals=tuple(signals),
            rows=int(self._powers[0].sum()),
            weighted=self._weighted,
            more_signals=self._more_signals,
            more_variants=self._more_variants,
        )

    def _small(self) -> float:
        """The largest difference that would be no news, in the reward's unit."""
        count, first, second = (float(power.sum()) for power in self._powers[:3])
        if not count or self._centre is None:
            return 0.0
        width, mean = self._high - self._low, first / count
        deviation = math.sqrt(max(second / count - mean**2, 0.0)) * width
        reward = self._centre + mean * width
        return min(SMALL * deviation, reward - self._low, self._high - reward)

    def _put_away(self) -> None:
        rows = self._fresh()
        self._pending.clear()
        if not rows:
            return
        self._find_slots(rows)
        rows = [row for row in rows if row.variant in self._slots]
        slot = np.array([self._slots[row.variant] for row in rows], np.int64)
        reward = np.array([row.reward for row in rows])
        if self._centre is None:
            self._centre = float(reward.mean()) if len(reward) else 0.0
        reward = (reward - self._centre) / (self._high - self._low)
        weight = self._scaled(np.array([row.weight for row in rows]), slot)
        once = np.stack([weight, weight * reward, weight * reward**2])
        batch = _Batch(slot, reward, weight, np.stack([once, once * weight]), [row.context for row in rows])
        for power in range(4):
            self._powers[power] += np.bincount(slot, reward**power, VARIANTS_MAX)
        self._whole += _binned(batch.terms, slot, VARIANTS_MAX)
        if self._open:
            self._discover(batch.contexts)
        for name, signal in self._signals.items():
            signal.add(batch, [context.get(name) for context in batch.contexts])

    def _fresh(self) -> list[_Row]:
        """The pending rows that count: of a subject the first with each variant."""
        known = [row for row in self._pending if row.subject]
        if not known:
            return list(self._pending)
        fresh: Iterator[bool] = iter(())
        if self._subjects < SUBJECTS_MAX:
            mask = self._seen.fresh([f"{row.variant}\0{row.subject}" for row in known])
            kept = [True] * len(known) if mask is None else mask.tolist()
            self._subjects += sum(kept)
            fresh = iter(kept)
        return [row for row in self._pending if not row.subject or next(fresh, False)]

    def _find_slots(self, rows: Sequence[_Row]) -> None:
        """Gives slots to the most served variants; one that is served twice as often takes another's."""
        served, slots = self._served, self._slots
        for row in rows:
            if row.variant in served or len(served) < VARIANTS_COUNTED:
                served[row.variant] += 1
        waiting = {row.variant for row in rows} - slots.keys()
        for variant in sorted(waiting, key=lambda variant: (-served[variant], variant)):
            if len(slots) < VARIANTS_MAX:
                slots[variant] = len(slots)
                continue
            self._more_variants = True
            least = min(slots, key=lambda known: (served[known], known))
            if served[variant] <= 2 * served[least]:
                break
            slot = slots[variant] = slots.pop(least)
            self._whole[..., slot] = 0.0
            self._powers[..., slot] = 0.0
            for signal in self._signals.values():
                signal.forget(slot)

    def _scaled(self, weight: F64, slot: I64) -> F64:
        """Weights times a number that is the same for all rows of the batch, and known before it.

        The later rows of a policy that has learned weigh up to a thousand times as much as the first ones,
        and tell the least. Each batch counts by the inverse of its spread: of the mean of 1 / p over
        variants (after Hadad et al., Confidence Intervals for Policy Evaluation in Adaptive Experiments, PNAS
        118, 2021). It is one number for all variants, so that all stand for the same times.
        """
        now = np.bincount(slot, weight**2, VARIANTS_MAX) / max(len(weight), 1)
        known = now if self._spread is None else self._spread
        self._spread = now if self._spread is None else MEMORY * self._spread + (1 - MEMORY) * now
        some = known[known > 0.0]
        spread = float(np.maximum(some, 1.0).mean()) if len(some) else 1.0
        found: F64 = weight / spread
        return found

    def _discover(self, contexts: Sequence[Features]) -> None:
        for context in contexts:
            for name in context:
                if name not in self._signals:
                    if len(self._signals) >= SIGNALS_MAX:
                        self._more_signals = True
                        return
                    self._signals[name] = _Sums()


class _Sums:
    """One signal's sums."""

    def __init__(self) -> None:
        self.rows = np.zeros(VARIANTS_MAX)
        self._present = np.zeros((2, 3, VARIANTS_MAX))
        self._codes: dict[str, int] = {}
        self._labels: F64 | None = None
        self._sets = False
        self._numbers: F64 | None = None
        self._centre, self._scale = 0.0, 1.0

    def add(self, batch: _Batch, values: Sequence[FeatureValue | None]) -> None:
        """Adds a batch's rows with the signal's value in each."""
        numbers: list[int] = []
        rows: list[int] = []
        codes: list[int] = []
        present: list[int] = []
        for row, value in enumerate(values):
            if value is None:
                continue
            present.append(row)
            if isinstance(value, str):
                rows.append(row)
                codes.append(self._code(value))
            elif isinstance(value, bool):
                rows.append(row)
                codes.append(self._code("true" if value else "false"))
            elif isinstance(value, tuple):
                self._sets = True
                for code in {self._code(one) for one in dict.fromkeys(value)}:
                    rows.append(row)
                    codes.append(code)
            else:
                numbers.append(row)
        if not present:
            return
        at = np.array(present, np.int64)
        self.rows += np.bincount(batch.slot[at], minlength=VARIANTS_MAX)
        self._present += _binned(batch.terms[..., at], batch.slot[at], VARIANTS_MAX)
        if rows:
            if self._labels is None:
                self._labels = np.zeros((2, 3, VALUES_MAX + 1, VARIANTS_MAX))
            at = np.array(rows, np.int64)
            cell = np.array(codes, np.int64) * VARIANTS_MAX + batch.slot[at]
            size = (VALUES_MAX + 1) * VARIANTS_MAX
            self._labels += _binned(batch.terms[..., at], cell, size).reshape(self._labels.shape)
        if numbers:
            self._add_numbers(batch, np.array(numbers, np.int64), values)

    def tests(self, whole: F64, counts: F64) -> Iterator[tuple[str | None, F64]]:
        """What there is to test, with its sums: None for the number, else a value."""
        if self._numbers is not None:
            yield None, self._numbers
        indicators: list[tuple[str, F64]] = []
        if self._labels is not None:
            names = [*self._codes, OTHER]
            indicators = [
                (name, self._labels[:, :, code])
                for code, name in enumerate(names[: VALUES_MAX + 1])
                if self._labels[0, 0, code].any()
            ]
        if (self.rows < counts).any() and self.rows.any():
            indicators.append((ABSENT, whole - self._present))
        if len(indicators) == 2 and not self._sets and self._numbers is None:
            # Of two values the one says what the other does.
            indicators = indicators[1:] if indicators[0][0] == "false" else indicators[:1]
        for name, inside in indicators:
            yield name, indicator_sums(inside, whole)

    def forget(self, slot: int) -> None:
        """Forgets one variant's rows."""
        for sums in (self.rows, self._present, self._labels, self._numbers):
            if sums is not None:
                sums[..., slot] = 0.0

    def _code(self, value: str) -> int:
        code = self._codes.get(value)
        if code is None:
            if len(self._codes) >= VALUES_MAX:
                return VALUES_MAX
            code = self._codes[value] = len(self._codes)
        return code

    def _add_numbers(self, batch: _Batch, at: I64, values: Sequence[FeatureValue | None]) -> None:
        z = np.array([values[row] for row in at], np.float64)
        if self._numbers is None:
            self._numbers = np.zeros((2, len(POWERS), VARIANTS_MAX))
            self._centre, self._scale = _centre_and_scale(z)
        z = np.clip((z - self._centre) / self._scale, -FAR, FAR)
        self._numbers += number_sums(z, batch.reward[at], batch.weight[at], batch.slot[at], VARIANTS_MAX)


def _centre_and_scale(z: F64) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = float(z.mean()), float(z.std())
    if not (math.isfinite(centre) and math.isfinite(scale)):
        return 0.0, float(np.abs(z).max())
    return centre, scale if scale > 1e-9 * abs(centre) else max(abs(centre), 1.0)


def _binned(terms: F64, cell: I64, size: int) -> F64:
    """Terms, shape (2, 3, rows), summed by cell."""
    found = np.empty((*terms.shape[:2], size))
    for i in range(terms.shape[0]):
        for j in range(terms.shape[1]):
            found[i, j] = np.bincount(cell, terms[i, j], size)
    return found
