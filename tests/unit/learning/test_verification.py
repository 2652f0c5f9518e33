import json
import shutil
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from bandit.eventlog import schema
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import NewExperiment, Tick
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.learning.verification import verify
from bandit.policies.model import ModelSpec, vw_version
from bandit.snapshots.manifest import Manifest
from bandit.snapshots.store import MODEL, SnapshotStore


def judged(folder, store=None):
    return verify(folder.log, store or folder.store, lambda what, done, total: None)


def altered(folder, statement, *values):
    """Runs a statement on the log, as someone with the file in hand could."""
    with closing(schema.connect(folder.path / "events.db")) as connection:
        assert connection.execute(statement, values).rowcount > 0


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def learned(folder, shop):
    """Three snapshots of one policy, at positions of their own."""
    experiment = shop()
    folder.define(experiment)
    for _ in range(3):
        folder.play(experiment, 40)
        folder.pass_seconds(1)
        folder.learn()
    assert len(folder.store.names("front-page")) == 3
    return folder


def test_a_folder_without_snapshots_is_in_order(folder, shop):
    folder.define(shop())
    verdict = judged(folder)
    assert verdict.ok
    [found] = verdict.experiments
    assert (found.experiment_id, found.position, found.joined, found.snapshot_id) == (
        "front-page",
        None,
        0,
        "",
    )
    assert found.equal


def test_every_retained_snapshot_equals_its_replay(learned):
    verdict = judged(learned)
    assert verdict.ok
    [found] = verdict.experiments
    assert (found.equal, found.reason, found.joined) == (True, "", 60)
    assert found.snapshot_id == learned.store.names("front-page")[0]
    _, manifest = learned.store.read("front-page", found.snapshot_id)
    assert found.position == manifest.position


@pytest.mark.parametrize(
    "policy",
    [
        {"preset": "uniform"},
        {"preset": "fixed:b"},
        {"preset": "epsilon_greedy"},
        {"oracle": "vw"},
        {"vw": "--sgd"},
    ],
)
def test_other_policies_are_verified_too(folder, shop, policy):
    experiment = shop(policy=policy)
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    verdict = judged(folder)
    assert verdict.ok
    assert verdict.experiments[0].joined == 10


def test_the_snapshots_of_an_earlier_policy_are_verified_as_its_own(learned, shop):
    learned.define(shop(policy={"preset": "epsilon_greedy"}))
    learned.learn()
    assert len({name.rpartition("-")[2] for name in learned.store.names("front-page")}) == 2
    assert judged(learned).ok


def test_a_resumed_learner_is_equal_after_more_events_than_a_batch(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 1_200)
    folder.pass_seconds(600)
    folder.learn()
    folder.pass_seconds(60)
    folder.learn()
    verdict = judged(folder)
    assert verdict.ok
    assert verdict.experiments[0].joined == 1_200


FILES = [MODEL, "linear.npy"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("at", [0, 100, -1])
def test_one_altered_byte_of_a_model_is_found(learned, name, index, at):
    flip(learned.snapshot("front-page", index) / name, at)
    verdict = judged(learned)
    assert not verdict.ok
    assert verdict.log.ok
    assert "sum of the model's files" in verdict.experiments[0].reason


def test_a_file_beside_the_models_own_is_found(learned):
    (learned.snapshot("front-page") / "other.npy").write_bytes(b"")
    verdict = judged(learned)
    assert not verdict.ok
    assert "sum of the model's files" in verdict.experiments[0].reason


@pytest.mark.parametrize("at", [0, 200, -2])
def test_one_altered_byte_of_a_manifest_is_found(learned, at):
    flip(learned.snapshot("front-page") / "manifest.json", at)
    verdict = judged(learned)
    assert not verdict.ok
    assert "manifest" in verdict.experiments[0].reason


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_found(learned, name):
    (learned.snapshot("front-page") / name).unlink()
    assert not judged(learned).ok


def forge(snapshot, **changes):
    """Writes a snapshot's manifest anew, with its own checksum right."""
    path = snapshot / "manifest.json"
    manifest = Manifest.from_json(path.read_text())
    path.write_text(replace(manifest, **changes).to_json())


def sum_of(folder, files):
    """The sum that a manifest has over a model's files, as the store's docstring says."""
    whole = sha256()
    for name in sorted(files):
        content = (folder / name).read_bytes()
        whole.update(f"{name}:{len(content)}:".encode() + content)
    return whole.hexdigest()


@pytest.mark.parametrize("names", [[MODEL], ["linear.npy"], FILES], ids=str)
def test_a_model_with_sums_made_to_fit_is_found(learned, names):
    """The newest snapshot has files of an older one, with every checksum right."""
    newest, older = learned.snapshot("front-page"), learned.snapshot("front-page", 1)
    for name in names:
        shutil.copyfile(older / name, newest / name)
    forge(newest, model_sha256=sum_of(newest, FILES))
    verdict = judged(learned)
    assert not verdict.ok
    assert "weights" in verdict.experiments[0].reason


def test_one_weight_of_a_linear_model_with_sums_made_to_fit_is_found(learned):
    newest = learned.snapshot("front-page")
    array = np.load(newest / "linear.npy")
    array.view(np.float32)[-1] += 1e-6
    np.save(newest / "linear.npy", array)
    forge(newest, model_sha256=sum_of(newest, FILES))
    verdict = judged(learned)
    assert not verdict.ok
    assert "weights" in verdict.experiments[0].reason


def test_evidence_that_was_made_up_is_found(learned):
    newest = learned.snapshot("front-page")
    state = Manifest.from_json((newest / "manifest.json").read_text()).state
    other = {"steady": "crossed"}.get(state["evidence"]["serving"], "steady")
    forge(newest, state={**state, "evidence": {**state["evidence"], "serving": other}})
    verdict = judged(learned)
    assert not verdict.ok
    assert "state" in verdict.experiments[0].reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("joined", 61, "joined"),
        ("summary", {"outcomes": {"rewarded": 60}}, "summary"),
        ("state", {}, "state"),
        ("spec", "{}", "spec"),
        ("spec", "[]", "spec"),
        ("model_sha256", "", "no model"),
    ],
)
def test_a_forged_manifest_is_found(learned, field, value, reason):
    path = learned.snapshot("front-page") / "manifest.json"
    manifest = Manifest.from_json(path.read_text())
    forged = {name: getattr(manifest, name) for name in manifest.__slots__} | {field: value}
    path.write_text(Manifest(**forged).to_json())
    verdict = judged(learned)
    assert not verdict.ok
    assert reason in verdict.experiments[0].reason


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("UPDATE events SET record = zeroblob(length(record)) WHERE seq = 60", ()),
        ("UPDATE events SET at_us = at_us + 1 WHERE kind = 'reward' AND seq = 60", ()),
        ("UPDATE events SET experiment_id = 'x' WHERE seq = 1", ()),
        ("UPDATE events SET record = x'ff' WHERE seq = 1", ()),
        ("DELETE FROM events WHERE seq = 30", ()),
        ("DELETE FROM events WHERE seq > 100", ()),
        ("DELETE FROM events", ()),
    ],
)
def test_an_altered_log_is_found_and_no_model_is_equal(learned, statement, values):
    altered(learned, statement, *values)
    verdict = judged(learned)
    assert not verdict.ok
    assert not verdict.log.ok
    assert [found.equal for found in verdict.experiments] == [False] * len(verdict.experiments)
    assert "front-page" in [found.experiment_id for found in verdict.experiments]
    assert verdict.log.reason == verdict.experiments[0].reason != ""


def test_a_database_that_is_no_more_one_is_a_verdict(learned):
    learned.log.checkpoint("TRUNCATE")
    path = learned.path / "events.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    verdict = judged(learned)
    assert not verdict.ok
    assert not verdict.log.ok


def test_a_snapshot_ahead_of_the_log_is_found(learned, tmp_path, shop):
    ahead = tmp_path / "other"
    ahead.mkdir()
    shutil.copytree(learned.path / "snapshots", ahead / "snapshots")
    log = SqliteEventLog(ahead, clock_us=lambda: 1_600_000_000_000_000)
    log.append([NewExperiment(shop(), b"salt")])
    log.append([Tick()])
    try:
        verdict = verify(log, SnapshotStore(ahead), lambda what, done, total: None)
    finally:
        log.close()
    assert verdict.log.ok
    assert not verdict.ok
    assert "ahead of the log" in verdict.experiments[0].reason


def test_snapshots_of_an_experiment_that_the_log_does_not_have_are_found(learned):
    home = learned.path / "snapshots" / "e-front-page"
    shutil.copytree(home, home.with_name("e-other"))
    verdict = judged(learned)
    assert [(found.experiment_id, found.equal) for found in verdict.experiments] == [
        ("front-page", True),
        ("other", False),
    ]


def test_a_snapshot_of_a_policy_that_was_never_in_force_is_found(learned, shop):
    fold = ModelFold.start(ModelSpec.of(shop(policy={"preset": "epsilon_greedy"})))
    _, now_us = learned.log.head()
    fold.take(read_joined(learned.log, "front-page", fold.position, now_us, 60))
    learned.store.publish(fold.manifest("front-page", vw_version()), fold.save)
    fold.close()
    verdict = judged(learned)
    assert not verdict.ok
    assert "never in force" in verdict.experiments[0].reason


def test_a_snapshot_that_was_pruned_meanwhile_is_skipped(learned):
    class Pruned(SnapshotStore):
        def read(self, experiment_id, name):
            if name == names[-1]:
                self.discard(experiment_id, name)
            return super().read(experiment_id, name)

    names = learned.store.names("front-page")
    verdict = judged(learned, Pruned(learned.path))
    assert verdict.ok
    assert verdict.experiments[0].snapshot_id == names[0]


def test_if_all_snapshots_were_replaced_meanwhile_the_newer_ones_are_judged(learned):
    class Replaced(SnapshotStore):
        listed = 0

        def names(self, experiment_id):
            self.listed += 1
            return names[1:] if self.listed == 1 else super().names(experiment_id)

        def read(self, experiment_id, name):
            for old in names[1:]:
                self.discard(experiment_id, old)
            return super().read(experiment_id, name)

    names = learned.store.names("front-page")
    verdict = judged(learned, Replaced(learned.path))
    assert verdict.ok
    assert verdict.experiments[0].snapshot_id == names[0]


def test_snapshots_pruned_after_they_were_taken_up_are_still_judged(learned):
    def prune(what, done, total):
        if what == "front-page":
            shutil.rmtree(learned.path / "snapshots", ignore_errors=True)

    verdict = verify(learned.log, learned.store, prune)
    assert verdict.ok
    assert verdict.experiments[0].joined == 60


def test_progress_ends_at_what_it_announced(learned):
    told = []
    verify(learned.log, learned.store, lambda what, done, total: told.append((what, done, total)))
    last = {what: (done, total) for what, done, total in told}
    seq, _ = learned.log.head()
    assert last == {"log": (seq, seq), "front-page": (60, 60)}


def test_verifying_changes_nothing(learned):
    def seen():
        return {
            path.relative_to(learned.path): path.read_bytes()
            for path in learned.path.glob("snapshots/**/*")
            if path.is_file()
        }

    before, head = seen(), learned.log.head()
    judged(learned)
    assert (seen(), learned.log.head()) == (before, head)
    assert json.loads((learned.snapshot("front-page") / "manifest.json").read_text())["joined"] == 60
