"""What an experiment's joined events amount to: counts and reward sums by variant and arm.

It does not judge: these are plain means of what was served, without weights or intervals.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bandit.core.records import Arm, JoinedEvent, Outcome

# By number: asking a member for its name, or for its hash, costs more than all the rest of taking an event.
_OUTCOMES: Sequence[str] = ("", *[outcome.name.lower() for outcome in sorted(Outcome)])
_ARMS: Sequence[str] = ("", *[arm.name.lower() for arm in sorted(Arm)])


class Summary:
    """A fold of joined events into counts; the same events in the same order give the same sums."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Empty, or what `state()` returned. Raises ValueError for anything else."""
        self.outcomes: dict[str, int] = {o.name.lower(): 0 for o in Outcome}
        self.clamped: int = 0
        self._cells: dict[tuple[str, str], list[float]] = {}
        if state is None:
            return
        try:
            self.outcomes |= {name: int(count) for name, count in state["outcomes"].items()}
            self.clamped = int(state["clamped"])
            for arm, variants in state["served"].items():
                for variant, (joined, counted, reward) in variants.items():
                    self._cells[arm, variant] = [int(joined), int(counted), float(reward)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the summary can't be read: {error!r}") from error

    def take(self, event: JoinedEvent) -> None:
        """Adds one event."""
        self.outcomes[_OUTCOMES[event.outcome]] += 1
        self.clamped += event.clamped
        decision = event.decision
        key = _ARMS[decision.arm], decision.variants[decision.chosen].id
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [0, 0, 0.0]
        cell[0] += 1
        if event.reward is not None:
            cell[1] += 1
            cell[2] += event.reward

    @property
    def joined(self) -> int:
        """How many events were taken."""
        return sum(self.outcomes.values())

    def state(self) -> dict[str, Any]:
        """JSON-able; sums keep their exact value."""
        served: dict[str, dict[str, list[float]]] = {}
        for (arm, variant), cell in self._cells.items():
            served.setdefault(arm, {})[variant] = list(cell)
        return {"outcomes": dict(self.outcomes), "clamped": self.clamped, "served": served}

    def report(self) -> dict[str, Any]:
        """For people and machines: joined events, mean reward, and share by variant and by arm."""
        joined = self.joined

        def row(cells: list[list[float]]) -> dict[str, Any]:
            decisions, counted = sum(int(c[0]) for c in cells), sum(int(c[1]) for c in cells)
            mean = sum(c[2] for c in cells) / counted if counted else None
            return {
                "joined": decisions,
                "share": decisions / joined if joined else 0.0,
                "counted": counted,
                "mean_reward": mean,
            }

        variants = sorted({variant for _, variant in self._cells})
        return {
            **row(list(self._cells.values())),
            "outcomes": dict(self.outcomes),
            "clamped": self.clamped,
            "arms": {
                arm.name.lower(): row([c for (a, _), c in self._cells.items() if a == arm.name.lower()])
                for arm in Arm
            },
            "variants": {v: row([c for (_, name), c in self._cells.items() if name == v]) for v in variants},
        }
