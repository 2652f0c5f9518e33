"""banditd's presets: the production code for choosing and learning, without log, server or processes.

A system's name is banditd:PRESET, or banditd:PRESET:option=number,…; among the options, floor=NUMBER is the
experiment's floor, and vw=ARGUMENTS are Vowpal Wabbit arguments.
"""

from typing import Any

from bandit.core.choose import View, choose
from bandit.core.experiment import Experiment
from bandit.core.records import Decision, JoinedEvent, Outcome, Position, Variant
from bandit.core.rewards import clamp
from bandit.learning.fold import ModelFold
from bandit.policies import presets
from bandit.policies.model import ModelSpec, untrained_policy
from battery.world import Context, World

PREFIX = "banditd:"
METRIC = "reward"
SECOND_US = 1_000_000


class Banditd:
    """One experiment that learns from every reward as it comes (`learn: on_reward`)."""

    def __init__(self, name: str, world: World, seed: int) -> None:
        """Raises ValueError for a preset, or options of it, that there are not."""
        experiment = definition(name, world)
        self._view = View.of(experiment, 1, b"battery")
        spec = ModelSpec.of(experiment)
        self._fold = ModelFold.start(spec)
        self._policy: Any = untrained_policy(spec)
        self._call_variants = not world.variants
        self._catalogue = self._view.catalogue
        self._world_variants = world.variants
        self._seed = seed
        self._round = 0
        self._last: Decision | None = None

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """As the server does, with a decision id that the seed gives."""
        self._round += 1
        decision = choose(
            self._view,
            self._policy,
            decision_id=f"{self._seed}-{self._round}",
            subject="",
            context=context,
            # What a model makes of a catalogue is kept for as long as it is the same object.
            variants=self._catalogue if variants is self._world_variants else variants,
            call_variants=self._call_variants,
        )
        self._last = decision
        return decision.chosen

    def learn(self, reward: float) -> None:
        """As the learner does, at once."""
        assert self._last is not None
        low, high = self._view.experiment.reward.range
        value = clamp(reward, low, high)
        at_us = self._round * SECOND_US
        event = JoinedEvent(
            Position(at_us + 1, self._round), at_us, self._last, Outcome.REWARDED, value, value != reward, {}
        )
        before = self._fold.learned
        self._fold.take((event,))
        if self._fold.learned and not before and self._fold.learner is not None:
            self._policy = self._fold.learner.policy("battery")

    def close(self) -> None:
        """Frees the model."""
        self._fold.close()


def definition(name: str, world: World) -> Experiment:
    """The experiment that has the policy `name` in this world. Raises ValueError."""
    preset, _, text = name.removeprefix(PREFIX).partition(":")
    policy: dict[str, Any] = {"preset": preset}
    kept: list[str] = []
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key == "floor":
            policy["floor"] = float(value)
        elif key == "vw":
            policy["vw"] = value
        else:
            kept.append(item)
    if kept:
        policy["preset"] = f"{preset}:{','.join(kept)}"
    experiment = Experiment.model_validate(
        {
            "id": "battery",
            "owner": "battery@example.com",
            "variants": [{"id": each.id, "features": dict(each.features)} for each in world.variants],
            "baseline": world.variants[0].id if world.variants else "",
            "signals": {key: dict(value) for key, value in world.signals.items()},
            "reward": {
                "metric": METRIC,
                "range": list(world.reward_range),
                "window": "1h",
                "default": "none",
                "learn": "on_reward",
            },
            "policy": policy,
        }
    )
    for field, message in presets.check(experiment.policy, [each.id for each in world.variants]):
        raise ValueError(f"{name}: {field} {message}")
    return experiment
