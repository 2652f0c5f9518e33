"""Jobs: a system in a world with a seed. What has a result is not run again."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battery import catalogue, systems
from battery.scores import Earned, summary

Result = dict[str, Any]
Key = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run. `label` stands for the version of our own code."""

    system: str
    world: str
    seed: int
    label: str

    @property
    def key(self) -> Key:
        """What tells its result from all others."""
        revision = catalogue.world(self.world).revision
        return self.system, systems.version_of(self.system, self.label), self.world, revision, self.seed


def run(job: Job) -> Result:
    """Runs a job to its end."""
    world = catalogue.world(job.world)
    rounds = list(world.rounds(job.seed))
    system = systems.make(job.system, world, rounds, job.seed)
    earned: list[Earned] = []
    seconds: list[float] = []
    try:
        for index, each in enumerate(rounds):
            began = time.perf_counter()
            chosen = system.choose(each.context, each.variants)
            reward, mean = each.rewards[chosen], each.means[chosen]
            if reward is not None and mean is not None:
                system.learn(reward)
                earned.append(Earned(index, mean, reward, each.best, each.uniform))
            seconds.append(time.perf_counter() - began)
    finally:
        system.close()
    name, version, of, revision, seed = job.key
    return {
        "system": name,
        "version": version,
        "world": of,
        "revision": revision,
        "seed": seed,
        **summary(earned, len(rounds), world.shifts, seconds),
    }


def key_of(result: Result) -> Key:
    """The key of the job whose result it is."""
    return result["system"], result["version"], result["world"], result["revision"], result["seed"]


def read(path: Path) -> dict[Key, Result]:
    """The results that a file holds; the last of equal ones. A line cut short by a kill is passed over."""
    found: dict[Key, Result] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                result = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[key_of(result)] = result
    return found


def run_all(jobs: Iterable[Job], path: Path, processes: int) -> Iterator[tuple[Job, Result | Exception]]:
    """Runs jobs, and adds each result to the file as it comes. A job that fails has its error instead."""
    todo = list(jobs)
    if processes == 1:
        for job in todo:
            try:
                yield job, _kept(run(job), path)
            except Exception as error:  # a peer may raise anything; the other jobs go on
                yield job, error
        return
    with ProcessPoolExecutor(processes) as pool:
        futures = {pool.submit(run, job): job for job in todo}
        for future in as_completed(futures):
            raised = future.exception()
            if isinstance(raised, Exception):
                yield futures[future], raised
            else:
                yield futures[future], _kept(future.result(), path)


def _kept(result: Result, path: Path) -> Result:
    # One short write in append mode, so that two runs may share a file.
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result
