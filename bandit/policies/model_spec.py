"""Everything that shapes a model, taken from an experiment's definition."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from bandit.core.experiment import Experiment, Signal
from bandit.policies.errors import IncompatibleModel
from bandit.policies.presets import PRESETS, resolve

FORMAT: Final = 4
"""How events become text for the model. Raised with any change to it, so that models are learned anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Two definitions with equal specs can share a model; one with another spec is learned again from the
    log.

    Not in it: floor, catalogue, rollout, reward window. `signals` is None where any is taken, and for presets
    that don't learn; of a signal only what the model sees of it is kept. `preferred` are the variants that a
    preset which names one serves, best first.
    """

    preset: str
    options: Mapping[str, float]
    oracle: str
    vw_args: str
    signals: Mapping[str, Signal] | None
    reward_range: tuple[float, float]
    preferred: tuple[str, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> "ModelSpec":
        """The spec of a definition. Raises ValueError if `presets.check` finds problems in its policy."""
        policy = resolve(experiment.policy)
        learns = policy.preset.learns
        declared = experiment.signals if learns and experiment.signals != "open" else None
        signals = None if declared is None else {name: _seen(signal) for name, signal in declared.items()}
        return cls(
            preset=policy.preset.name,
            options=policy.options,
            oracle=policy.oracle,
            vw_args=policy.vw_args,
            signals=signals,
            reward_range=experiment.reward.range if learns else (0.0, 1.0),
            preferred=(policy.variant_id, experiment.baseline) if policy.preset.names_variant else (),
        )

    @property
    def learns(self) -> bool:
        """Whether there is a model at all."""
        return PRESETS[self.preset].learns

    @property
    def digest(self) -> str:
        """Eight hex characters; equal specs give equal ones."""
        return sha256(self.to_json().encode()).hexdigest()[:8]

    def to_json(self) -> str:
        """The spec as JSON; equal specs give equal text."""
        signals: dict[str, dict[str, object]] | None = None
        if self.signals is not None:
            signals = {
                name: {"type": signal.type, "range": signal.range, "values": signal.values}
                for name, signal in self.signals.items()
            }
        body = {
            "format": FORMAT,
            "preset": self.preset,
            "options": dict(self.options),
            "oracle": self.oracle,
            "vw_args": self.vw_args,
            "signals": signals,
            "reward_range": list(self.reward_range),
            "preferred": list(self.preferred),
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """The spec that `to_json` wrote. Raises IncompatibleModel for one of another format, or altered."""
        try:
            body = json.loads(text)
            if body["format"] != FORMAT:
                raise IncompatibleModel(
                    f"the model is of format {body['format']}, not {FORMAT}: learn it again from the log"
                )
            signals = body["signals"]
            low, high = body["reward_range"]
            PRESETS[body["preset"]]
            return cls(
                preset=body["preset"],
                options=dict(body["options"]),
                oracle=body["oracle"],
                vw_args=body["vw_args"],
                signals=None
                if signals is None
                else {name: Signal(**value) for name, value in signals.items()},
                reward_range=(low, high),
                preferred=tuple(body["preferred"]),
            )
        except (KeyError, TypeError, ValidationError, json.JSONDecodeError) as error:
            raise IncompatibleModel(f"the model's spec can't be read: {error!r}") from error


def _seen(signal: Signal) -> Signal:
    """A signal without what the model never sees: purpose, consent, strictness."""
    return Signal(type=signal.type, range=signal.range, values=signal.values)
