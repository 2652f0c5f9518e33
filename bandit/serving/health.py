"""What a server tells the world of itself: each component's state, out of what its processes reported."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from bandit.serving import components
from bandit.serving.child import Child

States = Mapping[str, Mapping[str, Any]]
"""By component: {"ok": bool, "detail": text, …}, as `components.write_components` takes them."""


def states_of(children: Sequence[Child], experiments: Path, problems: Sequence[str], address: str) -> States:
    """The components of a server that serves at `address`; `problems` are the experiments file's."""
    learners = {c.name: _learner(c) for c in children if c.name == components.LEARNER}
    return {
        components.LOG: _log([child for child in children if child.is_worker]),
        components.EXPERIMENTS: {
            "ok": not problems,
            "detail": "\n".join(problems),
            "file": str(experiments),
        },
        **learners,
        "processes": {
            "ok": all(child.pid for child in children),
            "detail": "",
            "supervisor": os.getpid(),
            "address": address,
            **{child.name: child.pid for child in children},
        },
    }


def _log(workers: Sequence[Child]) -> Mapping[str, Any]:
    """As the worker has it that is worst off; before any has opened it, what one of them died of."""
    logs = [worker.states[components.LOG] for worker in workers if components.LOG in worker.states]
    if logs:
        return next((state for state in logs if not state["ok"]), logs[0])
    failures = [worker.failure for worker in workers if worker.failure]
    return {"ok": False, "detail": failures[0] if failures else "starting"}


def _learner(child: Child) -> Mapping[str, Any]:
    """One that failed and failed again is not well because it is up for a moment."""
    up = bool(child.pid)
    if child.failure and not child.steady and (not up or child.deaths > 1):
        return {"ok": False, "detail": f"it failed and is restarted; {child.failure}"}
    return child.states.get(
        components.LEARNER, {"ok": up, "detail": "" if up else "down; it will be restarted"}
    )


class Status:
    """The status file of a data folder, written when there is something new to tell."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._written = ""
        self._failing = False
        self._logger = structlog.get_logger("supervisor")

    def tell(self, states: States) -> None:
        """Writes the states unless they stand there already. What can't be written is tried the next time."""
        text = json.dumps(states)
        if text == self._written:
            return
        try:
            components.write_components(self._data_dir, states)
        except OSError as error:
            # It is tried again with every look: told once is enough.
            if not self._failing:
                self._failing = True
                self._logger.error("status not written", error=str(error))
            return
        self._written = text
        if self._failing:
            self._failing = False
            self._logger.info("status written again")
