"""A regression by Vowpal Wabbit: what reward does each variant bring in this context?

VW's `--cb_adf --cb_type mtr` with one served variant an event and a probability of 1: a plain least-squares
regression on what was served. SquareCB asks for just that; importance weights (1 / propensity, VW's way with
mtr) let rare draws of explored variants swing the weights, and make the favourite's many draws count for
little. It costs the same for 2 variants and for 1,000. E[reward | context, variant] is the same in both arms,
so control rows teach it as treatment rows do.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bandit.core.distribution import BrokenDistribution
from bandit.core.records import Variant
from bandit.policies.errors import IncompatibleModel
from bandit.policies.reading import Reading
from bandit.policies.vw import model_file, options
from bandit.policies.vw.encoding import Encoder
from bandit.policies.vw.stored import Stored
from bandit.policies.vw.workspace import Prepared, Workspace, vw_version

MODEL: Final = "model.vw"


class VwOracle:
    """A model that predicts and learns. Its predictions have no standard errors."""

    def __init__(
        self,
        arguments: Sequence[str],
        encoder: Encoder,
        folder: Path | None = None,
        *,
        only_predicts: bool = False,
        compact: bool = False,
    ) -> None:
        """A new one, or the one that `save` left in `folder`. Raises IncompatibleModel, OSError.

        One that `only_predicts` is set up with its first prediction; for `compact` see `stored.Stored`.
        """
        model = None if folder is None else folder / MODEL
        content = b"" if model is None else model.read_bytes()
        if model is not None:
            _refuse_another(content, arguments)
        self._encoder = encoder
        self._arguments = arguments
        self._stored: Stored | None = None
        self._workspace: Workspace | None = None
        if model is not None and only_predicts:
            self._stored = Stored(content, compact=compact)
        else:
            self._workspace = Workspace(arguments, model)
        self._prepared: Prepared | None = None
        self._prepared_from: Sequence[Variant] | None = None
        self._prepared_at = encoder.revision

    def predict(self, readings: Sequence[Reading], variants: Sequence[Variant]) -> list[list[float] | None]:
        """For each reading the expected rewards, within [0, 1]; None where Vowpal Wabbit has none.

        Raises BrokenDistribution if it has none for any: the model can't be opened, or the variants not read.
        """
        size = len(variants)
        try:
            predict = self._predictor(variants)
        except RuntimeError as error:
            raise BrokenDistribution(f"Vowpal Wabbit can't read the variants: {error}") from error
        predicted: list[list[float] | None] = []
        for text in [self._encoder.written(reading) for reading in readings]:
            try:
                costs = predict(text)
            except RuntimeError:
                predicted.append(None)
                continue
            sound = len(costs) == size and math.isfinite(sum(costs))
            rewards = [0.0 if cost >= 0.0 else 1.0 if cost <= -1.0 else -cost for cost in costs]
            predicted.append(rewards if sound else None)
        return predicted

    def _opened(self) -> Workspace:
        """The model, set up now if it was not before. Raises BrokenDistribution, ValueError after `close`."""
        if self._workspace is None:
            if self._stored is None:
                raise ValueError("this model is closed")
            try:
                self._workspace = self._stored.opened(self._arguments)
            except (IncompatibleModel, OSError) as error:
                raise BrokenDistribution(f"Vowpal Wabbit can't load the model: {error}") from error
            self._stored = None
        return self._workspace

    def _predictor(self, variants: Sequence[Variant]) -> Callable[[str], list[float]]:
        """A context's line -> the costs of the variants. Raises RuntimeError, both now and when called."""
        workspace = self._workspace or self._opened()
        # A tuple can't change: what VW made of it holds until the figures move that scale its numbers.
        revision = self._encoder.revision
        if self._prepared is None or variants is not self._prepared_from or revision != self._prepared_at:
            lines = self._encoder.lines(variants)
            if type(variants) is not tuple:
                return lambda shared: workspace.predict(f"{shared}\n{lines}")
            self._release()
            self._prepared = workspace.prepare(lines)
            self._prepared_from = variants
            self._prepared_at = revision
        return partial(workspace.predict_prepared, self._prepared)

    def _release(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and self._workspace is not None:
            self._workspace.release(prepared)

    def learn(self, reading: Reading, variants: Sequence[Variant], chosen: int, reward: float) -> float:
        """Learns what `variants[chosen]` brought, in [0, 1], and returns what was expected of it before."""
        line = self._encoder.line(variants, chosen)
        # Never with an exponent: VW reads -4e-196 as minus infinity. One variant and a probability of 1 make
        # it a plain regression on what was served.
        workspace = self._workspace or self._opened()
        cost = workspace.learn(f"{self._encoder.written(reading)}\n0:{-reward:.9f}:1 {line}")
        return min(max(-cost, 0.0), 1.0) if math.isfinite(cost) else 0.0

    def save(self, folder: Path) -> None:
        """Writes the model file. Raises OSError."""
        self._opened().save(folder / MODEL)

    def digest(self, folder: Path) -> bytes:
        """Over weights, not over the counters that predictions advance. Raises IncompatibleModel, OSError."""
        return model_file.learned_digest(folder / MODEL)

    def close(self) -> None:
        """Frees the model."""
        self._release()
        self._stored = None
        if self._workspace is not None:
            self._workspace.close()


def _refuse_another(content: bytes, arguments: Sequence[str]) -> None:
    """Raises IncompatibleModel unless a file's content is of this VW version and these arguments."""
    header = model_file.read_header(content)
    if header.version != vw_version():
        raise IncompatibleModel(
            f"the model is of Vowpal Wabbit {header.version}, not {vw_version()}: learn it again from the log"
        )
    words = tuple(arguments)
    bits = words[words.index("--bit_precision") + 1]
    if options.stored(header.options) != options.stored(words) or str(header.bits) != bits:
        raise IncompatibleModel(
            f"the model was made with other options ({' '.join(header.options)}): learn it again"
        )
