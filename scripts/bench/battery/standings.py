"""Results -> how the systems stand: means by world and group, distances to the best, recoveries."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from battery import catalogue, systems
from battery.jobs import Result

NEAR = (0.05, 0.03)
"""Within 5 % and 3 % of the best system's score."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One system in one world, over its seeds. `error` is the score's standard error, None of one seed."""

    score: float
    error: float | None
    seeds: int
    ms: float
    mean_reward: float
    recovery: float | None


@dataclass(frozen=True, slots=True)
class Worst:
    """The world in which a system is furthest behind the best peer there."""

    world: str
    score: float
    peer: str
    peer_score: float


class Standings:
    """The scores of `systems` in `worlds`."""

    def __init__(
        self, results: Iterable[Result], systems_asked: Sequence[str], worlds: Sequence[str]
    ) -> None:
        """Systems and worlds without any result are left out."""
        by: dict[tuple[str, str], list[Result]] = {}
        for result in results:
            if result["score"] is not None:
                by.setdefault((result["system"], result["world"]), []).append(result)
        self._cells = {key: _cell(found) for key, found in by.items()}
        self.systems = [one for one in systems_asked if any(key[0] == one for key in by)]
        self.worlds = [one for one in worlds if any(key[1] == one for key in by)]

    def cell(self, system: str, world: str) -> Cell | None:
        """A system's scores in a world, if it was run there."""
        return self._cells.get((system, world))

    def groups(self) -> list[tuple[str, list[str]]]:
        """The worlds by whether settings may be chosen by them; no group without any."""
        groups = [
            (group, [world for world in self.worlds if catalogue.group(world) == group])
            for group in catalogue.GROUPS
        ]
        return [group for group in groups if group[1]]

    def kinds(self) -> list[tuple[str, list[str]]]:
        """The worlds by what makes them hard."""
        kinds: dict[str, list[str]] = {}
        for world in self.worlds:
            kinds.setdefault(catalogue.world(world).kind, []).append(world)
        return list(kinds.items())

    def mean(self, system: str, worlds: Sequence[str]) -> tuple[float, float | None, int] | None:
        """The mean score over worlds, its standard error (of the seeds), and the number of worlds in it."""
        cells = [cell for world in worlds if (cell := self.cell(system, world))]
        if not cells:
            return None
        known = [cell.error for cell in cells if cell.error is not None]
        error = math.sqrt(sum(one * one for one in known)) / len(cells) if len(known) == len(cells) else None
        return statistics.fmean(cell.score for cell in cells), error, len(cells)

    def near(self, system: str, worlds: Sequence[str], share: float) -> float | None:
        """The share of worlds in which the system's score is within `share` of the best system's there."""
        hits = []
        for world in worlds:
            cell = self.cell(system, world)
            if cell is not None:
                best = max(other.score for one in self.systems if (other := self.cell(one, world)))
                hits.append(cell.score >= best - share * abs(best))
        return statistics.fmean(hits) if hits else None

    def worst(self, system: str, worlds: Sequence[str]) -> Worst | None:
        """Where the system's score is the smallest share of the best other project's."""
        found: list[tuple[float, Worst]] = []
        for world in worlds:
            cell = self.cell(system, world)
            peers = [
                (other.score, one)
                for one in self.systems
                if systems.is_peer(one) and one != system and (other := self.cell(one, world))
            ]
            if cell is not None and peers and max(peers)[0] > 0:
                best, peer = max(peers)
                found.append((cell.score / best, Worst(world, cell.score, peer, best)))
        return min(found, key=lambda one: one[0])[1] if found else None

    def recovery(self, system: str) -> dict[str, float]:
        """Rounds to recover in each world that shifts, mean over shifts and seeds."""
        return {
            world: cell.recovery
            for world in self.worlds
            if (cell := self.cell(system, world)) and cell.recovery is not None
        }

    def summary(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "worlds": {
                world: {
                    "held_out": world in catalogue.HELD_OUT,
                    "fresh": world in catalogue.FRESH,
                    "kind": catalogue.world(world).kind,
                    "systems": {
                        one: {name: getattr(cell, name) for name in Cell.__slots__}
                        for one in self.systems
                        if (cell := self.cell(one, world))
                    },
                }
                for world in self.worlds
            },
            "groups": {
                group: {one: self._group(one, worlds) for one in self.systems}
                for group, worlds in self.groups()
            },
        }

    def _group(self, system: str, worlds: Sequence[str]) -> dict[str, Any]:
        mean = self.mean(system, worlds)
        worst = self.worst(system, worlds)
        return {
            "mean": mean and mean[0],
            "error": mean and mean[1],
            "worlds": mean[2] if mean else 0,
            **{f"within_{share:g}": self.near(system, worlds, share) for share in NEAR},
            "worst": worst and {name: getattr(worst, name) for name in Worst.__slots__},
        }


def _cell(results: Sequence[Result]) -> Cell:
    scores = [result["score"] for result in results]
    error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
    recovery = [rounds for result in results for rounds in result["recovery"]]
    return Cell(
        score=statistics.fmean(scores),
        error=error,
        seeds=len(scores),
        ms=statistics.median(result["ms"] for result in results),
        mean_reward=statistics.fmean(result["mean_reward"] for result in results),
        recovery=statistics.fmean(recovery) if recovery else None,
    )
