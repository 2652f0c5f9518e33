"""A log's judged decisions, and a policy's opinion on the same decisions, as columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
BOOL: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Logged:
    """The judged decisions of a log: one row a joined event that has a reward.

    Columns are of shape (n,) unless said otherwise; k is the number of variants that were ever eligible.

    - `reward`: within the declared range
    - `propensity`: of the served variant; nan where the log has none
    - `weight`: 1 / (1 - pdrop), at least 1 and almost always 1
    - `chosen`: the served variant, as an index into `variant_ids`
    - `eligible`: how many variants were eligible
    - `treatment`: whether the row is of the treatment arm
    - `share`: the treatment share ρ in force, in [0, 1]
    - `cluster`: the same number for the same subject; a number of its own where there is no subject
    - `at_us`: when it was decided, microseconds since the Unix epoch
    - `defaulted`: whether the reward is the default
    - `variant_ids`: k ids; `reward_range`: as declared, (low, high)
    - `expected`, `variance`: (k,), the sums over rows of p and of p(1 - p), p being the logged probability of
      each variant; rows without a logged distribution add nothing
    - `served`: (k,), how often each variant was served in the rows that count in `expected`
    - `counts`: rows and lines by name: joined, unrewarded, defaulted, control, treatment, duplicates,
      out_of_order, bad_lines, out_of_range, no_propensity, bad_propensity, control_drawn (control
      decisions with a reward and a share above 0, of the whole log), ...; absent means not counted
    """

    reward: F64
    propensity: F64
    weight: F64
    chosen: I32
    eligible: I32
    treatment: BOOL
    share: F64
    cluster: I64
    at_us: I64
    defaulted: BOOL
    variant_ids: tuple[str, ...]
    reward_range: tuple[float, float]
    expected: F64
    variance: F64
    served: I64
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Target:
    """A policy's opinion on the rows of a `Logged`, each column of shape (n,).

    - `probability`: of the logged variant under the policy being judged, in [0, 1]
    - `unsupported`: how much probability the policy puts on variants that the log could not have served there
      (logged probability 0, or not eligible), in [0, 1]
    - `reward_hat`: predicted reward of the logged variant, by a model that did not learn from the row
    - `value_hat`: sum over variants of the policy's probability times the predicted reward
    """

    name: str
    probability: F64
    unsupported: F64
    reward_hat: F64 | None = None
    value_hat: F64 | None = None
