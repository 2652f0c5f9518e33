"""`banditd learn --from`: a new experiment's log and first snapshot, out of a historic log."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bandit.cli.usage import told_of_system

if TYPE_CHECKING:
    from bandit.core.experiment import Experiment
    from bandit.eventlog.importing.history import Progress
    from bandit.eventlog.importing.seeding import Seed, Seeded

_ADVICE = {
    "PROPENSITY_MISSING": "they can't be judged; let the log say _label_probability or p",
    "IN_THE_FUTURE": "see to the clock, or the time zone, of what wrote the log",
    "DUPLICATE_ID": "the first of each counts",
    "NOT_SETTLED": "their log was still open there; start from it later to have them",
    "TRUNCATED_LINE": "is the file complete?",
    "TRUNCATED_FILE": "is the file complete?",
}
_SIGNALS = "declare the signals as the log has them"
_MISSING_EXTRA = "banditd learn --from needs the extra `replay`: pip install 'banditd[replay]'"


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned: events joined, events among them with a reward, and the snapshot that holds them."""

    joined: int
    counted: int
    snapshot_id: str


def run(what: "Seed", data_dir: Path, snapshots_kept: int, log_level: str, *, as_json: bool) -> int:
    """Starts `data_dir` from a historic log, tells what was done, and answers with the exit code."""
    from bandit.cli.showing import bars
    from bandit.eventlog.formats.lines import StoppedAtBadLine
    from bandit.eventlog.importing import BadImport
    from bandit.eventlog.importing.seeding import seed
    from bandit.eventlog.log import LogUnwritable
    from bandit.logs import configure
    from bandit.serving.learner import wall_clock_us

    configure(log_level, process="learner")
    found: list[Learned] = []
    try:
        with bars() as progress:
            seeded = seed(
                what,
                data_dir,
                wall_clock_us(),
                lambda folder: found.append(_learn(folder, what.experiment.id, snapshots_kept, progress)),
                progress,
            )
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("orjson", "pyarrow"):
            raise
        return _failed(_MISSING_EXTRA, as_json)
    except StoppedAtBadLine as error:
        return _failed(f"banditd learn: {what.path}: {error}. Nothing was imported.", as_json)
    except (BadImport, LogUnwritable, OSError) as error:
        return _failed(f"banditd learn: {told_of_system(error)}", as_json)
    if as_json:
        print(json.dumps({"exit": 0, **_result(what.experiment, seeded, found[0])}))
    else:
        _show(_result(what.experiment, seeded, found[0]), data_dir)
    return 0


def _failed(message: str, as_json: bool) -> int:
    typer.echo(message, err=True)
    if as_json:
        print(json.dumps({"exit": 1, "error": message}))
    return 1


def _learn(folder: Path, experiment_id: str, snapshots_kept: int, progress: "Progress") -> Learned:
    """Learns all that has closed in the folder's log, as the learner does, and publishes one snapshot."""
    from bandit.eventlog.importing import BadImport
    from bandit.eventlog.sqlite import SqliteEventLog
    from bandit.learning.summary import Summary
    from bandit.learning.trainer import Trainer
    from bandit.snapshots.store import SnapshotStore

    log = SqliteEventLog(folder, create=False)
    try:
        total = sum(count.rows for count in log.counts() if count.kind == "decision")
        store = SnapshotStore(folder, keep=snapshots_kept)
        # A clock that stands still: nothing is published before all is learned, and no tick is written.
        trainer = Trainer(log, store, clock_us=lambda: 0, watch=_Watch(progress, total))
        while trainer.step(lambda: False):
            pass
        trainer.finish()
        names = store.names(experiment_id)
        if not names:
            raise BadImport(
                "All decisions are still within their reward windows: there is nothing to learn yet. Shorten "
                "the window in the experiment file, or start when the first have closed."
            )
        _, manifest = store.read(experiment_id, names[0])
        # What stands in the write-ahead log would stay behind when the log is put in its place.
        log.checkpoint("TRUNCATE")
    finally:
        log.close()
    unrewarded = Summary(manifest.summary).outcomes["unrewarded"]
    return Learned(manifest.joined, manifest.joined - unrewarded, manifest.snapshot_id)


class _Watch:
    """Draws how far learning has come."""

    def __init__(self, progress: "Progress", total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def learned(self, experiment_id: str, events: int) -> None:
        self._done += events
        self._progress("learn", self._done, self._total)

    def lag_us(self, lag_us: int) -> None: ...

    def behind(self, experiment_id: str, events: int) -> None: ...

    def published(self, experiment_id: str) -> None: ...


def _result(experiment: "Experiment", seeded: "Seeded", learned: Learned) -> dict[str, Any]:
    fit = seeded.fit
    return {
        "experiment": experiment.id,
        "format": seeded.format,
        "source_experiment": seeded.source_experiment,
        "lines": seeded.lines,
        "decisions": seeded.decisions,
        "rewards": seeded.rewards,
        "joined": learned.joined,
        "learned": learned.counted,
        "still_open": seeded.still_open,
        "snapshot_id": learned.snapshot_id,
        "variants_gone": dict(fit.gone),
        "variants_never_served": fit.never_served,
        "variants_with_other_features": dict(sorted(fit.other_features.items())),
        "signals_left_out": dict(sorted(fit.dropped.items())),
        "defaults_kept": fit.defaults_kept,
        "out_of_order": seeded.late,
        "times_taken_as_utc": seeded.naive_times,
        "bad_lines": sum(seeded.bad.values()),
        "bad_lines_by_reason": {
            reason: {
                "count": count,
                "first_lines": seeded.first[reason],
                "advice": _ADVICE.get(reason, _SIGNALS if reason in fit.misfits else ""),
            }
            for reason, count in sorted(seeded.bad.items())
        },
    }


def _show(found: dict[str, Any], data_dir: Path) -> None:
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    name = found["experiment"]
    lines = [
        f"{name}: {found['decisions']:,} decisions with {found['rewards']:,} rewards of {found['lines']:,} "
        f"{found['format']} lines, {found['learned']:,} learned",
        f"snapshot {found['snapshot_id']} in {data_dir}; now: banditd serve --data-dir {data_dir} "
        "--experiments FILE",
    ]
    if found["still_open"]:
        lines.append(f"{found['still_open']:,} decisions are open for rewards still; the server learns them")
    if found["variants_gone"]:
        served = ", ".join(f"{variant} ({count:,})" for variant, count in found["variants_gone"].items())
        lines.append(f"served, and not in the catalogue: {served}; kept, so that the log can be judged")
    if found["variants_never_served"]:
        names = ", ".join(found["variants_never_served"])
        lines.append(f"never served: {names}; only what the variants share is known of them")
    if found["variants_with_other_features"]:
        names = ", ".join(found["variants_with_other_features"])
        lines.append(f"served with other features than they have now: {names}")
    if found["signals_left_out"]:
        lines.append(f"signals left out: {', '.join(found['signals_left_out'])}")
    if found["defaults_kept"]:
        lines.append(
            f"{found['defaults_kept']:,} decisions without a reward keep the default that the log gave them"
        )
    if found["out_of_order"]:
        lines.append(f"{found['out_of_order']:,} were older than one before them, and stand in order of time")
    if found["times_taken_as_utc"]:
        lines.append(f"{found['times_taken_as_utc']:,} times had no zone and were taken as UTC")
    for line in lines:
        console.print(line, soft_wrap=True)
    if found["bad_lines_by_reason"]:
        console.print()
        bad = table("left out because of", "lines", "the first of them", "what to do", right=("lines",))
        reasons = found["bad_lines_by_reason"].items()
        for reason, one in sorted(reasons, key=lambda item: (-item[1]["count"], item[0])):
            first = ", ".join(map(str, one["first_lines"]))
            bad.add_row(reason, f"{one['count']:,}", first, one["advice"])
        console.print(bad)
