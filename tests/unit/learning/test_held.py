"""What of a folder's snapshots can be compared, and what is said of the rest."""

import json
import shutil
from dataclasses import replace

import pytest

from bandit.eventlog.log import NewExperiment, Tick
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.held import other_release
from bandit.learning.verification import verify
from bandit.policies.model_spec import FORMAT
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, snapshot_id
from bandit.snapshots.store import MODEL, SnapshotStore
from other_format import as_format

HOME = "snapshots/e-front-page"


def judged(folder):
    return verify(folder.log, folder.store, lambda what, done, total: None)


def the_one(folder):
    [found] = judged(folder).experiments
    return found


@pytest.fixture
def learned(folder, shop):
    """Three snapshots of one policy, at positions of their own."""
    experiment = shop()
    folder.define(experiment)
    for _ in range(3):
        folder.play(experiment, 20)
        folder.pass_seconds(1)
        folder.learn()
    return folder


def manifest_of(folder, index=0):
    return Manifest.from_json((folder.snapshot("front-page", index) / "manifest.json").read_text())


@pytest.mark.parametrize("number", range(1, FORMAT))
def test_a_snapshot_of_an_earlier_format_is_told_and_not_compared(learned, number):
    newest = learned.store.names("front-page")[0]
    name = as_format(learned.snapshot("front-page", 2), number)
    found = the_one(learned)
    assert (found.equal, found.reason, found.snapshot_id) == (True, "", newest)
    assert found.not_compared == (name,)
    assert found.warnings == (
        f"snapshot {name}: made by an earlier release (model format {number}, not {FORMAT}): not compared",
    )


def test_a_snapshot_of_an_earlier_format_that_has_come_furthest_is_not_the_one_shown(learned):
    as_format(learned.snapshot("front-page"), 1)
    found = the_one(learned)
    assert found.equal
    assert (found.snapshot_id, found.joined) == (manifest_of(learned, 1).snapshot_id, 20)


def test_a_snapshot_of_a_later_format_is_told_and_not_compared(learned):
    as_format(learned.snapshot("front-page"), FORMAT + 1)
    found = the_one(learned)
    assert found.equal
    assert "made by a later release" in found.warnings[0]


def test_where_there_are_only_snapshots_of_an_earlier_format_none_is_shown(learned):
    for name in learned.store.names("front-page"):
        as_format(learned.path / HOME / name, 3)
    found = the_one(learned)
    assert (found.equal, found.position, found.joined, found.snapshot_id) == (True, None, 0, "")
    assert len(found.not_compared) == 3


def test_a_model_that_is_not_equal_is_found_beside_one_of_an_earlier_format(learned):
    as_format(learned.snapshot("front-page", 2), 1)
    (learned.snapshot("front-page", 1) / MODEL).write_bytes(b"")
    found = the_one(learned)
    assert not found.equal
    assert "sum of the model's files" in found.reason
    assert found.not_compared


@pytest.mark.parametrize("at", [0, 200, -2])
def test_an_altered_byte_of_an_earlier_formats_manifest_is_damage(learned, at):
    path = learned.path / HOME / as_format(learned.snapshot("front-page", 2), 3) / "manifest.json"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    found = the_one(learned)
    assert not found.equal
    assert "manifest" in found.reason


def test_a_format_written_into_a_snapshot_of_this_release_is_damage(learned):
    """The name has the digest of the spec: an altered one is not that of another release."""
    path = learned.snapshot("front-page") / "manifest.json"
    manifest = manifest_of(learned)
    spec = manifest.spec.replace(f'"format":{FORMAT}', '"format":3')
    assert spec != manifest.spec
    path.write_text(replace(manifest, spec=spec).to_json())
    found = the_one(learned)
    assert not found.equal
    assert "spec is not the one in its name" in found.reason


def test_a_snapshot_of_an_earlier_format_ahead_of_the_log_is_found(learned, tmp_path, shop):
    ahead = tmp_path / "other"
    shutil.copytree(learned.path / "snapshots", ahead / "snapshots")
    for name in learned.store.names("front-page"):
        as_format(ahead / HOME / name, 3)
    log = SqliteEventLog(ahead, clock_us=lambda: 1_600_000_000_000_000)
    try:
        log.append([NewExperiment(shop(), b"salt")])
        log.append([Tick()])
        verdict = verify(log, SnapshotStore(ahead), lambda what, done, total: None)
    finally:
        log.close()
    assert not verdict.ok
    assert verdict.experiments[0].reason.count("ahead of the log") == 3


def test_snapshots_of_an_earlier_format_of_an_experiment_that_never_was_are_found(learned):
    home = learned.path / "snapshots" / "e-other"
    shutil.copytree(learned.path / HOME, home)
    for snapshot in list(home.iterdir()):
        path = snapshot / "manifest.json"
        path.write_text(replace(Manifest.from_json(path.read_text()), experiment_id="other").to_json())
        as_format(snapshot, 3)
    mine, other = judged(learned).experiments
    assert (mine.equal, other.equal) == (True, False)
    assert "never in force" in other.reason


@pytest.mark.parametrize("body", ["[]", "{}", "", '{"format":true}', '{"format":0}', '{"format":"3"}'])
def test_a_spec_without_a_format_is_damage_whatever_its_name_says(learned, body):
    from hashlib import sha256

    manifest = manifest_of(learned)
    name = snapshot_id(manifest.position, sha256(body.encode()).hexdigest()[:8])
    with pytest.raises(DamagedSnapshot, match="spec"):
        other_release(replace(manifest, spec=body, snapshot_id=name))


@pytest.mark.parametrize("name", ["garbage", "lost+found", "{}.bak", "z-{}"])
def test_a_folder_that_is_no_snapshot_by_its_name_is_told_and_left_out(learned, name):
    newest = learned.store.names("front-page")[0]
    stray = name.format(newest)
    shutil.copytree(learned.path / HOME / newest, learned.path / HOME / stray)
    found = the_one(learned)
    assert (found.equal, found.snapshot_id) == (True, newest)
    [warning] = found.warnings
    assert repr(stray) in warning


def test_a_folder_where_a_snapshot_should_be_is_still_damage(learned):
    (learned.path / HOME / "0000000000000001-0000000001-0a1b2c3d").mkdir()
    assert "can't be read" in the_one(learned).reason


def test_the_snapshot_shown_is_the_one_that_is_not_equal(learned):
    older = manifest_of(learned, 1)
    path = learned.snapshot("front-page", 1) / "manifest.json"
    path.write_text(replace(older, summary={}).to_json())
    found = the_one(learned)
    assert not found.equal
    assert (found.snapshot_id, found.position, found.joined) == (
        older.snapshot_id,
        older.position,
        older.joined,
    )


def test_the_snapshot_shown_may_be_one_that_cannot_be_read(learned):
    older = learned.snapshot("front-page", 1)
    (older / MODEL).unlink()
    found = the_one(learned)
    assert not found.equal
    assert (found.snapshot_id, found.position, found.joined) == (older.name, None, 0)


def test_an_experiment_is_still_shown_with_its_furthest_model_where_it_is_the_log_that_is_wrong(learned):
    from contextlib import closing

    from bandit.eventlog import schema

    with closing(schema.connect(learned.path / "events.db")) as connection:
        connection.execute("DELETE FROM events WHERE seq = 30")
    found = the_one(learned)
    assert not found.equal
    assert found.snapshot_id == learned.store.names("front-page")[0]


def test_what_was_crafted_here_is_what_the_releases_left(learned):
    """Format 1's manifest of the tests has all that an earlier release's had, and passes its checksum."""
    name = as_format(learned.snapshot("front-page"), 1)
    path = learned.path / HOME / name / "manifest.json"
    assert sorted(json.loads(path.read_text())) == [
        "checksum",
        "experiment_id",
        "joined",
        "model_sha256",
        "parent",
        "position",
        "snapshot_id",
        "spec",
        "state",
        "summary",
        "vw_version",
    ]
    with pytest.raises(DamagedSnapshot, match="sum of the model's files"):
        learned.store.read("front-page", name)
