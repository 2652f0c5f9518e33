"""A preset: an exploration rule, its options, and whether it learns. The next preset is one small file of
this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from bandit.policies.prediction import Predicted

Explore = Callable[[Predicted, int, Mapping[str, float]], Sequence[float]]
"""What is predicted of at least one variant, treatment-arm events learned, options -> a distribution."""


@dataclass(frozen=True, slots=True)
class Option:
    """A number that tunes a preset: its default and the range that it must lie in, both ends included."""

    default: float
    low: float
    high: float
    doc: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """A policy by name.

    `explore` must be a pure function. A preset that does not `learn` sees 0 as every reward, or 1 for the
    variant that it is named after (`names_variant`, as in fixed:ID).
    """

    name: str
    explore: Explore
    learns: bool
    options: Mapping[str, Option] = field(default_factory=dict)
    names_variant: bool = False


ORACLE_OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "learning_rate": Option(
            0.25,
            1e-4,
            10.0,
            "How far one event moves Vowpal Wabbit's regression. Higher forgets faster, lower averages more.",
        ),
        "bits": Option(
            18, 10, 24, "The model has 2 ** bits weights; 16 bytes each once touched.", whole=True
        ),
    }
)
"""The options that every learning preset has."""
