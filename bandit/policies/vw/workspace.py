"""Every call into Vowpal Wabbit is made here.

The calls are those of the extension module's base class: `vowpalwabbit.Workspace` overrides them in Python
and takes four to five times as long. tests/unit/policies/test_vw_base_calls.py holds what this relies on. VW
never releases the GIL and is not thread-safe: one thread at a time a workspace.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NewType

import pylibvw  # type: ignore[import-not-found]  # a bare extension module, without types

from bandit.policies.errors import IncompatibleModel

_VW: Any = pylibvw.vw
_parse = _VW._parse
_predict = _VW.predict_multi
_learn = _VW.learn_multi
_finish = _VW._finish_example_multi_ex


@cache
def vw_version() -> str:
    """The version of Vowpal Wabbit in use, as its model files carry it."""
    return version("vowpalwabbit")


Prepared = NewType("Prepared", list[Any])
"""Variant lines that were parsed; `Workspace.prepare` makes them, `Workspace.release` frees them."""


class Workspace:
    """One model in memory: about 1 MB, 16 bytes more a touched weight (by the page), and 32 kB for each
    variant of the largest call so far. Speaks text; see `encoding` for how to write it safely.
    """

    def __init__(self, arguments: Sequence[str], model: Path | None = None) -> None:
        """A new model, or the one stored in `model`. Raises IncompatibleModel if VW refuses to load it."""
        source = [] if model is None else ["--initial_regressor", str(model)]
        try:
            self._vw: Any = _VW([*arguments, *source])
        except RuntimeError as error:
            if model is None:
                raise
            raise IncompatibleModel(f"Vowpal Wabbit can't load the model: {error}") from error

    def predict(self, text: str) -> list[float]:
        """A predicted cost a variant line, in the order of the lines."""
        vw = self._open()
        examples = _parse(vw, text)
        try:
            _predict(vw, examples)
            costs: list[float] = examples[0].get_action_scores()
        finally:
            # Gives the examples back to VW's pool; without it they are never freed.
            _finish(vw, examples)
        return costs

    def prepare(self, lines: str) -> Prepared:
        """Parses variant lines, to be predicted for with any number of contexts."""
        return Prepared(_parse(self._open(), lines))

    def predict_prepared(self, variants: Prepared, shared: str) -> list[float]:
        """What `predict` gives for the text of the context's line and the variants' lines."""
        vw = self._open()
        context = _parse(vw, shared)
        examples = [*context, *variants]
        try:
            _predict(vw, examples)
            costs: list[float] = examples[0].get_action_scores()
        finally:
            _finish(vw, context)
        return costs

    def release(self, variants: Prepared) -> None:
        """Frees what `prepare` made; it can't be used afterwards."""
        vw = self._open()
        # VW judges what it is given back by the last lesson's cost, and reads the score of what was never
        # asked for: after a lesson that would be the end of the process.
        context = _parse(vw, "shared |U")
        examples = [*context, *variants]
        try:
            _predict(vw, examples)
        finally:
            _finish(vw, examples)

    def learn(self, text: str) -> float:
        """Learns from one labelled event of one variant, and returns the cost that it predicted before."""
        vw = self._open()
        examples = _parse(vw, text)
        try:
            _learn(vw, examples)
            cost: float = examples[0].get_action_scores()[0]
        finally:
            _finish(vw, examples)
        return cost

    def save(self, path: Path) -> None:
        """Writes the model to `path`, replacing what is there. Raises OSError if it can't be written
        whole.
        """
        vw = self._open()
        try:
            # VW writes aside and renames.
            _VW.save(vw, str(path))
        except RuntimeError as error:
            aside = path.with_name(f"{path.name}.writing")
            if aside.is_file():
                aside.unlink()
            raise OSError(f"{path} can't be written: {error}") from error

    def close(self) -> None:
        """Frees the model. It can be closed again; every other call raises ValueError."""
        if self._vw is not None:
            _VW.finish(self._vw)
            self._vw = None

    def _open(self) -> Any:
        # Given None for itself, VW would end the process.
        if self._vw is None:
            raise ValueError("this model is closed")
        return self._vw
