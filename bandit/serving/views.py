"""The experiments in force, as this process knows them from the log."""

import gc
from collections.abc import Iterable, Iterator
from typing import Final

from bandit.core.choose import View
from bandit.core.errors import Reason, Refused
from bandit.eventlog.log import Definition

MANY_DEFINITIONS: Final = 50


class Views:
    """Experiment id -> its current View. A call takes one view and keeps it to its end."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._views: dict[str, View] = {}
        self._seq = 0

    @property
    def seq(self) -> int:
        """The seq of the last definition taken."""
        return self._seq

    def take(self, definitions: Iterable[Definition]) -> list[str]:
        """Puts definitions, in log order, in force. Returns the ids of the experiments that changed."""
        changed = []
        for definition in definitions:
            self._seq = definition.seq
            experiment = definition.experiment
            self._views[experiment.id] = View.of(experiment, definition.version, definition.salt)
            changed.append(experiment.id)
        if len(changed) >= MANY_DEFINITIONS:
            # Those of a thousand experiments are half a million objects, and live on: a full collection that
            # walks them stops every call for a tenth of a second.
            gc.freeze()
        return changed

    def get(self, experiment_id: str) -> View:
        """The view in force. Raises Refused UNKNOWN_EXPERIMENT."""
        view = self._views.get(experiment_id)
        if view is None:
            known = ", ".join(sorted(self._views)[:10]) or "none"
            raise Refused(
                Reason.UNKNOWN_EXPERIMENT,
                f"Experiment {experiment_id!r} is not known (known: {known}). Check the id, or add it to the "
                "experiments file.",
                metadata={"experiment_id": experiment_id, "known": known},
            )
        return view

    def find(self, experiment_id: str) -> View | None:
        """The view in force, or None."""
        return self._views.get(experiment_id)

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[View]:
        """The views in force now."""
        return iter(list(self._views.values()))
