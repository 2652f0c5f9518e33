"""Folds joined events into the oracles of an experiment, and serves the one that its evidence favours.

`oracle: auto` trains three side by side: two exact linear regressions a variant, one that takes the world to
stand still and one that tracks a moving one; and Vowpal Wabbit's, which crosses signals with each other and
learns from variants' features. Where several variants share a feature, the linear ones learn what Vowpal
Wabbit's prediction leaves. `oracle: vw` trains a plain one of Vowpal Wabbit alone.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bandit.core.distribution import BrokenDistribution
from bandit.core.records import Arm, Features, JoinedEvent, Variant
from bandit.core.rewards import clamp, unit_scale
from bandit.policies.errors import IncompatibleModel
from bandit.policies.evidence import Evidence, OraclesStanding
from bandit.policies.linear.oracle import LinearOracle
from bandit.policies.linear.ridge import TRACKING
from bandit.policies.model_spec import ModelSpec
from bandit.policies.oracle_policy import OraclePolicy
from bandit.policies.prediction import Predicted
from bandit.policies.presets import AUTO
from bandit.policies.reading import Reader
from bandit.policies.scaling import Scaler
from bandit.policies.surprise import Surprise
from bandit.policies.vw import options
from bandit.policies.vw.encoding import Encoder
from bandit.policies.vw.oracle import VwOracle
from bandit.policies.vw.workspace import vw_version

LINEAR: Final = ("steady", "tracking")
CROSSED: Final = "crossed"
PLAIN: Final = "vw"

BORROWED: Final = 0.7
"""So much of the tracking regression's standard errors is taken for the crossed one's, which knows more: what
crossings tell, and the variants' features.
"""

VARIANT_NUMBERS_STEP: Final = 0.02
"""What is written of a catalogue is kept, and so is what Vowpal Wabbit made of it, until the figures that
scale its variants' numbers rest on a fiftieth more events: with each event they hardly move, but all changes.
"""


class OraclesLearner:
    """A learning preset's `model.Learner`. The same events give the same fingerprint, whether uninterrupted
    or saved and loaded in between, and whether or not it was asked for predictions.
    """

    def __init__(
        self,
        spec: ModelSpec,
        folder: Path | None = None,
        state: dict[str, Any] | None = None,
        *,
        only_predicts: bool = False,
        compact: bool = False,
    ) -> None:
        """A new learner, or the one that `save` and `state` left; for `only_predicts` and `compact` see
        `VwOracle`. Raises IncompatibleModel, OSError.
        """
        self._spec = spec
        auto = spec.oracle == AUTO
        self._arguments = options.arguments(
            spec.options["learning_rate"],
            int(spec.options["bits"]),
            spec.vw_args,
            options.CROSSED if auto else (),
        )
        names = _names(auto)
        context_numbers, variant_numbers = Scaler(), Scaler(VARIANT_NUMBERS_STEP)
        self._evidence = Evidence(names)
        self._surprise = Surprise(len(names))
        self._closed = False
        generalises = False
        self.events = 0
        self._learned = 0
        linear_state = None
        if folder is not None:
            recorded = state or {}
            self._refuse_another(recorded)
            try:
                self.events, self._learned = int(recorded["events"]), int(recorded["learned"])
                context_numbers = Scaler.restored(recorded["context_numbers"])
                variant_numbers = Scaler.restored(recorded["variant_numbers"], VARIANT_NUMBERS_STEP)
                self._evidence = Evidence(names, recorded["evidence"])
                self._surprise = Surprise(len(names), recorded["surprise"])
                generalises = recorded["generalises"] is True
                linear_state = recorded["linear"]
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise IncompatibleModel(f"the model's state can't be read: {error!r}") from error
        self._context_numbers, self._variant_numbers = context_numbers, variant_numbers
        self._reader = Reader(spec.signals, context_numbers, variant_numbers)
        encoder = self._encoder = Encoder(variant_numbers, crossed=auto, generalises=generalises)
        self._linear = LinearOracle(folder, linear_state) if auto else None
        self._vw = VwOracle(self._arguments, encoder, folder, only_predicts=only_predicts, compact=compact)

    def learn(self, event: JoinedEvent) -> None:
        """Learns from one event. Raises ValueError for an UNREWARDED one."""
        if event.reward is None:
            raise ValueError("an event without a reward can't be learned from")
        low, high = self._spec.reward_range
        decision = event.decision
        context, variants, chosen = decision.context, decision.variants, decision.chosen
        # An event of an earlier definition may lie outside today's range.
        reward = unit_scale(clamp(event.reward, low, high), low, high)
        if self._encoder.take_in(variants) and self._linear is not None and self._learned:
            # It has learned whole rewards, and from here on learns what Vowpal Wabbit leaves of them.
            self._linear = LinearOracle()
            self._evidence.shake()
        # Every eligible variant in turn feeds the running figures: those of the served ones alone would drift
        # towards the favourite's, and all of them would cost as many updates as there are variants.
        reading = self._reader.observe(context, variants[self._learned % len(variants)])
        known = self._vw.learn(reading, variants, chosen, reward)
        error = reward - known
        errors, squares = [error], [error * error]
        if self._linear is not None:
            base = known if self._encoder.generalises else 0.0
            found, scales = self._linear.learn(reading, variants, chosen, reward - base)
            exact = [reward - base - each for each in found]
            errors = [*exact, error]
            squares = [each * each / scale for each, scale in zip(exact, scales, strict=True)]
            squares.append(error * error)
        self._learned += 1
        self._evidence.take_noise(squares)
        if decision.arm is Arm.TREATMENT:
            self.events += 1
            self._evidence.take(errors)
            self._notice(errors)

    def _notice(self, errors: Sequence[float]) -> None:
        """Unlearns where the world has changed: to wait until new events outweigh the old ones is slow."""
        watched = (self._evidence.serving, LINEAR.index("tracking"))
        if self._linear is not None and self._surprise.take(errors, watched, self._evidence.noise):
            self._linear.forget()
            self._evidence.shake()

    def predicted(self, contexts: Sequence[Features], variants: Sequence[Variant]) -> list[Predicted | None]:
        """What the served oracle expects in each context; None where it expects nothing sound.

        Raises BrokenDistribution if the model can't be opened.
        """
        if self._closed:
            raise ValueError("this model is closed")
        readings = [self._reader.read(context) for context in contexts]
        linear, name, noise = self._linear, self._evidence.name, self._evidence.noise
        if linear is not None and name != CROSSED:
            expected = linear.predict(readings, variants, LINEAR.index(name))
            if not self._encoder.generalises:
                return [Predicted(rewards, errors, noise) for rewards, errors in expected]
            return [
                None
                if bases is None
                else Predicted(
                    [reward + base for reward, base in zip(rewards, bases, strict=True)], errors, noise
                )
                for bases, (rewards, errors) in zip(
                    self._vw.predict(readings, variants), expected, strict=True
                )
            ]
        found = self._vw.predict(readings, variants)
        if linear is None:
            blank = [0.0] * len(variants)
            return [None if rewards is None else Predicted(rewards, blank, noise) for rewards in found]
        # It has no errors of its own, and would never look again at what it once believed to be bad.
        doubted = linear.predict(readings, variants, TRACKING)
        return [
            None if rewards is None else Predicted(rewards, [BORROWED * doubt for doubt in doubts], noise)
            for rewards, (_, doubts) in zip(found, doubted, strict=True)
        ]

    def predict(self, context: Features, variants: Sequence[Variant]) -> list[float]:
        """The predicted reward of each variant on the unit scale, in [0, 1]. Raises BrokenDistribution."""
        [predicted] = self.predicted([context], variants)
        if predicted is None:
            raise BrokenDistribution("the model predicts nothing sound here")
        return [clamp(reward, 0.0, 1.0) for reward in predicted.rewards]

    def policy(self, snapshot_id: str) -> OraclePolicy:
        """A policy on the live model: it knows whatever has been learned so far, and dies with the
        learner.
        """
        return OraclePolicy(self._spec, self, snapshot_id, owns_learner=False)

    @property
    def standing(self) -> OraclesStanding:
        """Which oracle is served, and how the others do beside it."""
        return OraclesStanding(
            self._evidence.name, self._evidence.switches, self._surprise.alarms, self._evidence.leads()
        )

    def state(self) -> dict[str, Any]:
        """What must be kept beside the files; JSON keeps it exactly."""
        return {
            "vw_version": vw_version(),
            "arguments": list(self._arguments),
            "events": self.events,
            "learned": self._learned,
            "context_numbers": self._context_numbers.state(),
            "variant_numbers": self._variant_numbers.state(),
            "evidence": self._evidence.state(),
            "surprise": self._surprise.state(),
            "generalises": self._encoder.generalises,
            "linear": None if self._linear is None else self._linear.state(),
        }

    def save(self, folder: Path) -> None:
        """Writes the model's files. Raises OSError."""
        self._vw.save(folder)
        if self._linear is not None:
            self._linear.save(folder)

    def fingerprint(self) -> str:
        """A sum over weights and state, as hex. Writes a file to a temporary folder on the way."""
        with TemporaryDirectory(prefix="banditd-") as name:
            self._vw.save(Path(name))
            learned = self._vw.digest(Path(name))
        if self._linear is not None:
            learned += self._linear.digest()
        return sha256(learned + json.dumps(self.state(), sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """Frees the models."""
        self._closed = True
        self._vw.close()

    def _refuse_another(self, state: dict[str, Any]) -> None:
        """Raises IncompatibleModel unless a state is of this VW version and these arguments."""
        version = state.get("vw_version")
        if version != vw_version():
            raise IncompatibleModel(
                f"the model is of Vowpal Wabbit {version}, not {vw_version()}: learn it again from the log"
            )
        if state.get("arguments") != list(self._arguments):
            raise IncompatibleModel("the model was made with other options: learn it again from the log")


def standing_of(state: Mapping[str, Any]) -> OraclesStanding:
    """The standing in a learner's state. Raises KeyError, TypeError or ValueError if it holds none."""
    evidence = Evidence(_names(state["linear"] is not None), state["evidence"])
    alarms = int(state["surprise"]["alarms"])
    return OraclesStanding(evidence.name, evidence.switches, alarms, evidence.leads())


def _names(auto: bool) -> tuple[str, ...]:
    return (*LINEAR, CROSSED) if auto else (PLAIN,)
