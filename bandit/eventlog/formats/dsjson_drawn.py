"""What a dsjson line says of the draw: which variant was served, and how probable each of them was.

Lines of every age: with `a` and `p`, with `a` alone, or with neither, where `_label_Action` or `_labelIndex`
says what was served and `_label_probability` how probable that was.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from bandit.eventlog.formats.lines import BadLine

SUM_TOLERANCE: Final = 1e-3
"""How far the probabilities of a line may sum from 1: they were computed in single precision, and rounded."""

PROPENSITY_TOLERANCE: Final = 1e-4
"""How far, relatively, `_label_probability` and `p[0]` may stand apart: one is often written shorter."""

_NAN = float("nan")
_OVER = 1.0 + 1e-6  # a little over 1 is rounding in single precision


class _InOrder(dict[int, Callable[[Mapping[int, float]], Sequence[float]]]):
    """Number of variants -> what takes the values of the actions 1, 2, … from a map, in that order."""

    def __missing__(self, size: int) -> Callable[[Mapping[int, float]], Sequence[float]]:
        take = itemgetter(*range(1, size + 1)) if size > 1 else lambda by_action: (by_action[1],)
        self[size] = take
        return take


_IN_ORDER = _InOrder()


def drawn(document: dict[str, Any], size: int) -> tuple[int, list[float]]:
    """(index of the served variant, distribution over the variants in the order of `c._multi`).

    The probabilities are those of the line, not renormalised; NaN for what it does not say. Raises BadLine.
    """
    get = document.get
    actions, probabilities = get("a"), get("p")
    index, action = get("_labelIndex"), get("_label_Action")
    if action is not None:
        if type(action) is not int:
            raise BadLine("INVALID_ACTION", "has a _label_Action that is not a whole number")
        if index is None:
            index = action - 1
        elif index != action - 1:
            raise BadLine("LABEL_MISMATCH", "has a _labelIndex that is not _label_Action less 1")
    if actions is None:
        if type(index) is not int or not 0 <= index < size:
            raise BadLine(
                "INVALID_ACTION", "says by neither a, _labelIndex nor _label_Action what was served"
            )
        if probabilities is not None:
            raise BadLine(
                "INVALID_DISTRIBUTION", "has p without a: nothing says whose probabilities they are"
            )
        return index, _served_only(index, size, document)
    distribution: list[float] = []
    try:
        chosen = actions[0] - 1
        # Every line comes by here: what is wrong is looked for only where something is.
        if probabilities is None or len(actions) != size:
            _check_actions(actions, size)
        if probabilities is not None:
            total = sum(probabilities)
            by_action = dict(zip(actions, probabilities, strict=True))
            if len(by_action) == size and type(sum(actions)) is int:
                distribution = list(_IN_ORDER[size](by_action))
                mended = min(distribution) < 0.0 or total > _OVER or type(total) is not float
            else:
                mended = True
    except (TypeError, ValueError, LookupError):
        _check_actions(actions, size)
        raise BadLine("INVALID_DISTRIBUTION", "has a p that is not a list of numbers parallel to a") from None
    if index is not None and index != chosen:
        raise BadLine("LABEL_MISMATCH", "has a _labelIndex or _label_Action that is not a[0]")
    if probabilities is None:
        return chosen, _served_only(chosen, size, document)
    if mended:
        distribution = _mended(actions, probabilities, size)
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        raise BadLine("INVALID_DISTRIBUTION", "has probabilities that do not sum to 1")
    known = distribution[chosen]
    said = get("_label_probability", known)
    if known <= 0.0 or known > 1.0 or said != known:
        known = distribution[chosen] = _propensity(known, _NAN)
        if not abs(_propensity(said, known) - known) <= PROPENSITY_TOLERANCE * known:
            raise BadLine("PROPENSITY_MISMATCH", "has a _label_probability that is not p[0]")
    return chosen, distribution


def _check_actions(actions: Any, size: int) -> None:
    """Raises BadLine unless these are some of the numbers 1 to `size`."""
    try:
        if not (min(actions) >= 1 and max(actions) <= size and type(sum(actions)) is int):
            raise _wrong_actions(size)
    except (TypeError, ValueError):
        raise _wrong_actions(size) from None


def _wrong_actions(size: int) -> BadLine:
    return BadLine("INVALID_ACTION", f"has an a that is not a list of action numbers from 1 to {size}")


def _served_only(chosen: int, size: int, document: dict[str, Any]) -> list[float]:
    """The distribution of a line that says at most the probability of what was served."""
    distribution = [_NAN] * size
    distribution[chosen] = _propensity(document.get("_label_probability"), _NAN)
    return distribution


def _mended(actions: list[int], probabilities: list[Any], size: int) -> list[float]:
    """The distribution where not all is as it is in an ordinary line. Raises BadLine for what is wrong.

    An action that is not in `a` was not eligible, so its probability is 0.
    """
    if len({*actions}) != len(actions):
        raise BadLine("INVALID_ACTION", "has an action twice in a")
    distribution = [0.0] * size
    for number, probability in zip(actions, probabilities, strict=True):
        if type(probability) is not float and type(probability) is not int:
            raise BadLine("INVALID_DISTRIBUTION", "has a p that is not a list of numbers")
        if not 0.0 <= probability <= _OVER:
            raise BadLine("PROPENSITY_OUT_OF_RANGE", "has a probability that is not in [0, 1]")
        distribution[number - 1] = min(float(probability), 1.0)
    return distribution


def _propensity(value: Any, absent: float) -> float:
    if value is None:
        return absent
    if type(value) is not float and type(value) is not int:
        raise BadLine("PROPENSITY_OUT_OF_RANGE", "has a probability that is not a number")
    if not 0.0 < value <= _OVER:
        raise BadLine("PROPENSITY_OUT_OF_RANGE", "has a probability of what was served that is not in (0, 1]")
    return min(float(value), 1.0)
