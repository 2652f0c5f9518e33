import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.core.records import ORIGIN
from bandit.eventlog.joined import read_joined
from bandit.learning.fold import ModelFold
from bandit.learning.verification import verify
from bandit.policies.model import ModelSpec
from bandit.snapshots.manifest import Manifest, spec_of
from bandit.snapshots.store import MODEL, SnapshotStore

SECOND_US = 1_000_000


def settle(trainer):
    """Steps until nothing more is due at once."""
    while trainer.step(lambda: False):
        pass


def fingerprint(folder, index=0):
    name = folder.store.names("front-page")[index]
    source, manifest = folder.store.read("front-page", name)
    fold = ModelFold.resume(manifest, source)
    try:
        return fold.learner.fingerprint()
    finally:
        fold.close()


def whole(folder, experiment):
    """The fingerprint of a learner that saw everything at once."""
    fold = ModelFold.start(ModelSpec.of(experiment))
    _, now_us = folder.log.head()
    while events := read_joined(folder.log, experiment.id, fold.position, now_us, 10_000):
        fold.take(events)
    try:
        return fold.learner.fingerprint()
    finally:
        fold.close()


def sound(folder):
    return verify(folder.log, folder.store, lambda what, done, total: None).ok


def positions(folder):
    return [folder.store.read("front-page", n)[1].position for n in folder.store.names("front-page")]


def test_stopped_and_resumed_any_number_of_times_it_ends_up_the_same(folder, shop):
    experiment = shop()
    folder.define(experiment)
    for _ in range(4):
        folder.play(experiment, 30)
        folder.pass_seconds(1)
        folder.learn()
    assert fingerprint(folder) == whole(folder, experiment)
    _, manifest = folder.store.read("front-page", folder.store.names("front-page")[0])
    assert manifest.joined == 60
    assert manifest.parent == folder.store.names("front-page")[1]


def test_a_learner_that_was_killed_resumes_from_its_last_snapshot(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 30)
    folder.pass_seconds(1)
    settle(folder.trainer())  # published once, and never finished
    folder.play(experiment, 30)
    folder.pass_seconds(1)
    folder.learn()
    assert fingerprint(folder) == whole(folder, experiment)


def test_a_restart_with_nothing_new_publishes_nothing(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    trainer = folder.trainer()
    folder.pass_seconds(60)
    settle(trainer)
    trainer.finish()
    assert folder.watch.publications == 1


def test_snapshots_of_an_experiment_are_not_closer_than_the_interval(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 4)
    trainer = folder.trainer()
    folder.pass_seconds(0.001)
    settle(trainer)
    assert len(positions(folder)) == 1
    folder.play(experiment, 4)
    folder.now_us -= SECOND_US  # the clock of the publisher stands nearly still
    settle(trainer)
    folder.pass_seconds(2)
    settle(trainer)
    assert len(positions(folder)) == 2
    trainer.finish()
    assert positions(folder)[0] > positions(folder)[1]


def test_of_many_snapshots_the_last_ones_are_kept(folder, shop):
    experiment = shop()
    folder.define(experiment)
    trainer = folder.trainer(keep=2)
    for _ in range(4):
        folder.play(experiment, 4)
        folder.pass_seconds(1)
        settle(trainer)
    trainer.finish()
    _, now_us = folder.log.head()
    events = read_joined(folder.log, "front-page", ORIGIN, now_us, 10_000)
    assert positions(folder) == [events[7].position, events[5].position]


def test_a_changed_policy_is_learned_from_the_log_and_the_old_snapshot_stays(folder, shop):
    experiment, changed = shop(), shop(policy={"preset": "epsilon_greedy"})
    old, new = (ModelSpec.of(each).digest for each in (experiment, changed))
    folder.define(experiment)
    folder.play(experiment, 1_100)
    folder.pass_seconds(1)
    folder.learn()
    furthest = folder.store.names("front-page")[0]
    folder.define(changed)
    trainer = folder.trainer()
    assert trainer.step(lambda: False)  # one batch: behind the old one
    names = folder.store.names("front-page")
    assert names[0] == furthest
    assert spec_of(names[-1]) == new
    folder.pass_seconds(1)
    settle(trainer)
    trainer.finish()
    names = folder.store.names("front-page")
    assert {spec_of(name) for name in names} == {old, new}
    reached = {spec_of(name): folder.store.read("front-page", name)[1].joined for name in reversed(names)}
    assert reached == {old: 550, new: 550}
    assert sound(folder)


def test_a_policy_that_comes_back_goes_on_from_its_own_snapshot(folder, shop):
    experiment, changed = shop(), shop(policy={"preset": "epsilon_greedy"})
    for each in (experiment, changed, experiment):
        folder.define(each)
        folder.play(each, 20)
        folder.pass_seconds(1)
        folder.learn()
    _, manifest = folder.store.read("front-page", folder.store.names("front-page")[0])
    assert manifest.joined == 30
    assert spec_of(manifest.parent) == ModelSpec.of(experiment).digest
    assert fingerprint(folder) == whole(folder, experiment)


def test_a_definition_with_the_same_model_does_not_start_it_anew(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    before = folder.store.names("front-page")
    folder.define(shop(owner="someone@else.example"))
    folder.learn()
    assert folder.store.names("front-page") == before


def flip_model(snapshot: Path):
    data = bytearray((snapshot / MODEL).read_bytes())
    data[-1] ^= 1
    (snapshot / MODEL).write_bytes(bytes(data))


def forge(snapshot: Path, **changes):
    """Alters a manifest and makes its checksum fit."""
    path = snapshot / "manifest.json"
    path.write_text(replace(Manifest.from_json(path.read_text()), **changes).to_json())


DAMAGES = {
    "altered model": flip_model,
    "no model": lambda snapshot: (snapshot / MODEL).unlink(),
    "cut manifest": lambda snapshot: (snapshot / "manifest.json").write_text("{"),
    "no manifest": lambda snapshot: (snapshot / "manifest.json").unlink(),
    "empty": lambda snapshot: [path.unlink() for path in snapshot.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_snapshot_is_discarded_and_rebuilt(folder, shop, damage):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    [name] = folder.store.names("front-page")
    before = fingerprint(folder)
    damage(folder.snapshot("front-page"))
    folder.learn()
    assert folder.store.names("front-page") == [name]
    assert fingerprint(folder) == before
    assert sound(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "[]"},
        {"state": {}},
        {"summary": []},
        {"summary": {"outcomes": {}, "clamped": 0, "served": {"control": {"a": [1]}}}},
    ],
    ids=str,
)
def test_a_manifest_that_makes_no_sense_does_not_stop_the_learner(folder, shop, changes):
    """Its checksum is right, so only loading it shows what it is."""
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    forge(folder.snapshot("front-page"), **changes)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    assert fingerprint(folder) == whole(folder, experiment)
    assert sound(folder)


def test_with_the_newest_damaged_it_goes_on_from_the_one_before(folder, shop):
    experiment = shop()
    folder.define(experiment)
    for _ in range(2):
        folder.play(experiment, 20)
        folder.pass_seconds(1)
        folder.learn()
    newest, before = folder.store.names("front-page")
    flip_model(folder.snapshot("front-page"))
    folder.learn()
    assert folder.store.names("front-page") == [newest, before]
    _, manifest = folder.store.read("front-page", newest)
    assert manifest.parent == before
    assert fingerprint(folder) == whole(folder, experiment)


def test_a_snapshot_ahead_of_the_log_is_discarded(folder, shop, tmp_path):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    [ahead] = folder.store.names("front-page")
    other = type(folder)(tmp_path / "restored")
    try:
        other.now_us -= 3_600 * SECOND_US
        other.define(experiment)
        shutil.copytree(folder.path / "snapshots", other.path / "snapshots")
        other.play(experiment, 10)
        other.pass_seconds(1)
        other.learn()
        assert ahead not in other.store.names("front-page")
        assert fingerprint(other) == whole(other, experiment)
        assert sound(other)
    finally:
        other.log.close()


def test_a_tick_lets_the_last_event_close(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(
        experiment, 2
    )  # the reward is the log's last row: nothing newer says that its time has passed
    trainer = folder.trainer()
    settle(trainer)
    assert positions(folder) == []
    rows, _ = folder.log.head()
    folder.now_us += SECOND_US
    settle(trainer)  # ticks
    assert folder.log.head()[0] == rows + 1
    settle(trainer)
    assert len(positions(folder)) == 1
    folder.now_us += SECOND_US
    settle(trainer)  # the other decision's window is open: nothing is due, and nothing is written
    assert folder.log.head()[0] == rows + 1
    trainer.finish()


def test_at_the_end_of_its_window_a_decision_without_reward_closes_by_itself(folder, shop):
    experiment = shop(reward={"metric": "visit", "window": "10m", "default": 0})
    folder.define(experiment)
    folder.play(experiment, 3)
    trainer = folder.trainer()
    settle(trainer)
    folder.now_us += 601 * SECOND_US
    settle(trainer)
    settle(trainer)
    trainer.finish()
    _, manifest = folder.store.read("front-page", folder.store.names("front-page")[0])
    assert manifest.summary["outcomes"] == {"rewarded": 1, "defaulted": 2, "unrewarded": 0}
    assert sound(folder)


def test_a_stop_is_heeded_before_the_next_experiment(folder, shop):
    for name in ("one", "two"):
        folder.define(shop(id=name))
        folder.play(shop(id=name), 4)
    folder.pass_seconds(1)
    trainer = folder.trainer()
    asked = []

    def stopping():
        asked.append(True)
        return len(asked) > 1

    assert not trainer.step(stopping)
    trainer.finish()
    assert folder.store.experiments() == ["one"]


def test_an_odd_id_is_learned_like_any_other(folder, shop):
    experiment = shop(id="../a/b [x]")
    folder.define(experiment)
    folder.play(experiment, 4)
    folder.pass_seconds(1)
    folder.learn()
    assert [path.name for path in folder.path.parent.iterdir()] == ["data"]
    assert SnapshotStore(folder.path).experiments() == ["../a/b [x]"]
    assert sound(folder)
