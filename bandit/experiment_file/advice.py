"""What an experiment file may say but seldom means. Nothing here forbids anything."""

from collections.abc import Iterator

from bandit.core.experiment import Experiment
from bandit.core.records import Stage
from bandit.experiment_file.tree import Node, Path


def given(experiment: Experiment, node: Node) -> Iterator[tuple[Path, str]]:
    """Each warning as a path below the experiment's `node` and a message that says what to do."""
    if len(experiment.variants) == 1:
        yield (
            ("variants",),
            "has one variant, so there is nothing to choose; add another, or [] for calls that bring them",
        )
    yield from _signals(experiment)
    if experiment.reward.learn == "on_reward" and experiment.reward.default_value is not None:
        yield (
            ("reward", "default"),
            "is a number while learn is on_reward: rewards arrive before defaults, so early estimates are "
            "biased; write default: none, or learn: at_close",
        )
    if experiment.policy.floor == 0.0:
        yield (
            ("policy", "floor"),
            "is 0: a variant that is never served can't be judged from the log; write floor: 0.01",
        )
    yield from _rollout(experiment, node)
    yield from _flags(node)


def _signals(experiment: Experiment) -> Iterator[tuple[Path, str]]:
    if experiment.signals == "open":
        yield (
            ("signals",),
            "is open: any signal is taken, unchecked and without consent; declare them before people are "
            "served",
        )
    elif not experiment.signals:
        yield (
            ("signals",),
            "declares none: a call with a context is refused, and all subjects look alike; declare what "
            "may drive the choice",
        )


def _rollout(experiment: Experiment, node: Node) -> Iterator[tuple[Path, str]]:
    rollout = experiment.rollout
    written = node.find(("rollout", "percent"))[1] is not None
    if rollout.stage is Stage.FULL and written and rollout.percent < 100 - rollout.holdout_percent:
        yield (
            ("rollout", "percent"),
            f"is {rollout.percent:g} but stage: full treats all but the holdout; write stage: ramp, "
            "or leave it out",
        )
    if rollout.stage is Stage.RAMP and not written:
        yield (
            ("rollout", "stage"),
            f"is ramp without percent, which treats {rollout.percent:g} % of the subjects; write percent: 5",
        )


def _flags(node: Node) -> Iterator[tuple[Path, str]]:
    """yes, no, on and off where a feature may be a flag or a text: YAML readers take them for flags."""
    variants = node.find(("variants",))[1]
    for index, variant in enumerate((variants.items if variants else None) or ()):
        features = variant.find(("features",))[1]
        for name, (_, value) in ((features.entries if features else None) or {}).items():
            if isinstance(value.scalar, bool) and value.written.lower() not in ("true", "false"):
                flag = str(value.scalar).lower()
                yield (
                    ("variants", index, "features", name),
                    f'is read as the flag {flag}; write {flag}, or "{value.written}" with quotes for a text',
                )
