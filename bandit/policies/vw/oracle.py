"""The regression oracle of a learning preset: what reward does each variant bring in this context?

VW's `--cb_adf --cb_type mtr` with one served variant an event and a probability of 1: a plain least-squares
regression on what was served. SquareCB asks for just that; importance weights (1 / propensity, VW's way with
mtr) let rare draws of explored variants swing the weights, and make the favourite's many draws count for
little. With and without them, each at its best settings: e-mail visits .168 and .178, digits in one pass .74
and .74, over eight made-up worlds .51 and .62 of what was to be had. It costs the same for 2 variants and for
1,000. E[reward | context, variant] is the same in both arms, so control rows teach it as treatment rows do.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bandit.core.distribution import BrokenDistribution
from bandit.core.records import Features, Variant
from bandit.policies.errors import IncompatibleModel
from bandit.policies.model_spec import ModelSpec
from bandit.policies.vw import model_file, options
from bandit.policies.vw.encoding import Encoder
from bandit.policies.vw.scaling import Scaler
from bandit.policies.vw.workspace import Prepared, Workspace, vw_version


class Oracle:
    """A model that predicts and learns. `events` counts the treatment-arm events among the `learned` ones: it
    is what exploration sharpens with.
    """

    def __init__(
        self, spec: ModelSpec, model: Path | None = None, state: dict[str, Any] | None = None
    ) -> None:
        """A new oracle, or the one that `save` and `state` left. Raises IncompatibleModel, OSError."""
        self._arguments = options.arguments(
            spec.options["learning_rate"], int(spec.options["bits"]), spec.vw_args
        )
        self.events = 0
        self.learned = 0
        context_numbers = Scaler()
        variant_numbers = Scaler()
        if model is not None:
            recorded = state or {}
            self._refuse_another(model, recorded)
            try:
                self.events = int(recorded["events"])
                self.learned = int(recorded["learned"])
                context_numbers = Scaler.restored(recorded["context_numbers"])
                variant_numbers = Scaler.restored(recorded["variant_numbers"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise IncompatibleModel(f"the model's state can't be read: {error!r}") from error
        self._context_numbers = context_numbers
        self._variant_numbers = variant_numbers
        self._encoder = Encoder(spec.signals, context_numbers, variant_numbers)
        self._workspace = Workspace(self._arguments, model)
        self._prepared: Prepared | None = None
        self._prepared_from: Sequence[Variant] | None = None
        self._prepared_at = 0

    def predict(self, context: Features, variants: Sequence[Variant]) -> list[float]:
        """The predicted reward of each variant on the unit scale, in [0, 1]. Raises BrokenDistribution."""
        try:
            costs = self._costs(self._encoder.shared(context), variants)
        except RuntimeError as error:
            raise BrokenDistribution(f"Vowpal Wabbit can't predict: {error}") from error
        if len(costs) != len(variants) or not math.isfinite(sum(costs)):
            raise BrokenDistribution(f"{len(variants)} variants, predicted costs {costs[:10]}")
        return [0.0 if cost >= 0.0 else 1.0 if cost <= -1.0 else -cost for cost in costs]

    def _costs(self, shared: str, variants: Sequence[Variant]) -> list[float]:
        if type(variants) is not tuple:
            return self._workspace.predict(f"{shared}\n{self._encoder.lines(variants)}")
        # A tuple can't change: what VW made of it holds until the figures move that scale its numbers.
        updates = self._variant_numbers.updates
        prepared = self._prepared
        if prepared is None or variants is not self._prepared_from or updates != self._prepared_at:
            self._release()
            prepared = self._prepared = self._workspace.prepare(self._encoder.lines(variants))
            self._prepared_from = variants
            self._prepared_at = updates
        return self._workspace.predict_prepared(shared, prepared)

    def _release(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._workspace.release(prepared)

    def learn(
        self, context: Features, variants: Sequence[Variant], chosen: int, reward: float, *, treatment: bool
    ) -> None:
        """Learns that `variants[chosen]` brought `reward` (unit scale, in [0, 1]) in this context."""
        # Every eligible variant in turn feeds the running figures: those of the served ones alone would drift
        # towards the favourite's, and all of them would cost as many updates as there are variants.
        self._encoder.observe(context, variants[self.learned % len(variants)])
        self._workspace.learn(self._encoder.lesson(context, variants, chosen, -reward))
        self.learned += 1
        if treatment:
            self.events += 1

    def state(self) -> dict[str, Any]:
        """What must be kept beside the model file; JSON keeps it exactly."""
        return {
            "vw_version": vw_version(),
            "arguments": list(self._arguments),
            "events": self.events,
            "learned": self.learned,
            "context_numbers": self._context_numbers.state(),
            "variant_numbers": self._variant_numbers.state(),
        }

    def save(self, path: Path) -> None:
        """Writes the model file. Raises OSError."""
        self._workspace.save(path)

    def close(self) -> None:
        """Frees the model."""
        self._release()
        self._workspace.close()

    def _refuse_another(self, model: Path, state: dict[str, Any]) -> None:
        """Raises IncompatibleModel unless file and state are of this VW version and these arguments."""
        header = model_file.read_header(model)
        for found in (header.version, state.get("vw_version")):
            if found != vw_version():
                raise IncompatibleModel(
                    f"the model is of Vowpal Wabbit {found}, not {vw_version()}: learn it again from the log"
                )
        expected = options.stored(self._arguments)
        wanted_bits = self._arguments[self._arguments.index("--bit_precision") + 1]
        agrees = options.stored(header.options) == expected and str(header.bits) == wanted_bits
        if not agrees or state.get("arguments") != list(self._arguments):
            raise IncompatibleModel(
                f"the model was made with other options ({' '.join(header.options)}): learn it again"
            )
