"""Subject (or decision) -> arm, sticky: raising a percentage only moves people from control to treatment."""

from bandit.core.experiment import Rollout
from bandit.core.records import Arm, Stage
from bandit.core.sampling import Uniform


def treatment_share(rollout: Rollout) -> float:
    """The share of subjects in treatment, in [0, 1]; 0 for every stage that serves the baseline to all."""
    match rollout.stage:
        case Stage.RAMP:
            return rollout.percent / 100.0
        case Stage.FULL:
            return 1.0 - rollout.holdout_percent / 100.0
        case Stage.DRAFT | Stage.SHADOW | Stage.PAUSED | Stage.STOPPED:
            return 0.0


def arm(uniform: Uniform, unit: str, share: float) -> Arm:
    """The arm of `unit`: the subject's pseudonym, or the decision id where there is no subject.

    `uniform` is the experiment's own, of the domain "arm". Treatment grows from 0 upwards with `share` and
    the holdout stands at the top end, so that a subject in the holdout never leaves it and a subject once
    treated stays treated while the share grows.
    """
    if share <= 0.0:
        return Arm.CONTROL
    # A uniform number is below 1 always, so nothing needs to be drawn where all are treated.
    return Arm.TREATMENT if share >= 1.0 or uniform(unit) < share else Arm.CONTROL
