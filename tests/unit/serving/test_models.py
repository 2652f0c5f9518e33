"""Which stored snapshot serves: the pinned one, else the one that has come furthest, of whichever policy."""

import shutil

import pytest
from structlog.testing import capture_logs

from bandit.core.choose import View
from bandit.learning.steps import finished
from bandit.policies.model import ModelSpec
from bandit.serving.models import Models
from bandit.snapshots.manifest import spec_of
from bandit.snapshots.store import MODEL

PAGE = "front-page"
GREEDY = {"preset": "epsilon_greedy"}
NOWHERE = "1700000000000000-0000000001-0a1b2c3d"


def view(experiment):
    return View.of(experiment, 1, b"salt")


def learn(folder, experiment, decisions=20):
    """Brings a definition into force, plays and learns; answers with the snapshot."""
    folder.define(experiment)
    folder.play(experiment, decisions)
    folder.pass_seconds(1)
    folder.learn()
    digest = ModelSpec.of(experiment).digest
    return next(name for name in folder.store.names(experiment.id) if spec_of(name) == digest)


@pytest.fixture
def models(folder):
    return Models(folder.store)


def served(models, experiment):
    """The snapshot that serves once a definition is in force."""
    models.policy(view(experiment))
    finished(models.refreshing(view(experiment)))
    return models.policy(view(experiment)).snapshot_id


def test_the_old_policy_serves_until_the_new_one_has_caught_up(folder, shop, models):
    experiment, changed = shop(), shop(policy=GREEDY)
    folder.define(experiment)
    folder.play(experiment, 1_200)
    folder.pass_seconds(10)
    folder.learn()
    old = folder.store.names(PAGE)[0]
    assert served(models, experiment) == old
    folder.define(changed)
    trainer = folder.trainer()
    assert trainer.step(lambda: False)
    assert len(folder.store.names(PAGE)) == 2
    assert served(models, changed) == old
    assert served(Models(folder.store), changed) == old  # a server that was started anew
    while trainer.step(lambda: False):
        pass
    trainer.finish()
    new = served(models, changed)
    assert spec_of(new) == ModelSpec.of(changed).digest
    assert served(models, changed) == new


def test_the_old_policy_serves_contexts_of_the_new_definition(folder, shop, models):
    old = learn(folder, shop())
    changed = shop(signals={"channel": {"type": "number"}, "plan": {"type": "category"}})
    assert served(models, changed) == old
    policy = models.policy(view(changed))
    shares = policy.distributions([{"channel": 3.0, "plan": "gold"}], changed.catalogue())[0]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("preset", ["uniform", "fixed:b"])
def test_a_policy_without_a_model_leaves_none_to_serve(folder, shop, models, preset):
    learn(folder, shop(policy={"preset": preset}))
    with capture_logs() as logs:
        assert served(models, shop()) == ""
    assert logs == []
    new = learn(folder, shop())
    assert served(models, shop()) == new


def test_a_pin_serves_what_it_names_and_the_newest_serves_without(folder, shop, models):
    first = learn(folder, shop())
    newest = learn(folder, shop(policy=GREEDY))
    assert served(models, shop(policy=GREEDY)) == newest
    pinned = shop(policy={**GREEDY, "snapshot": first})
    assert ModelSpec.of(pinned) == ModelSpec.of(shop(policy=GREEDY))
    assert served(models, pinned) == first
    assert served(Models(folder.store), pinned) == first
    newest = learn(folder, pinned)
    assert served(models, pinned) == first
    assert served(models, shop(policy=GREEDY)) == newest


@pytest.mark.parametrize("preset", ["uniform", "fixed:b"])
def test_a_pin_serves_beside_a_preset_that_learns_nothing_and_only_while_it_is_there(
    folder, shop, models, preset
):
    first = learn(folder, shop())
    assert served(models, shop(policy={"preset": preset, "snapshot": first})) == first
    assert served(models, shop(policy={"preset": preset})) == ""


def test_a_changed_policy_under_a_pin_changes_nothing_that_is_served(folder, shop, models):
    first = learn(folder, shop())
    for policy in ({}, GREEDY, {"preset": "squarecb", "gamma_scale": 5}):
        pinned = shop(policy={**policy, "snapshot": first})
        learn(folder, pinned)
        assert served(models, pinned) == first


def gone(snapshot):
    shutil.rmtree(snapshot)


def damaged(snapshot):
    model = snapshot / MODEL
    model.write_bytes(model.read_bytes()[:-1])


@pytest.mark.parametrize(("harm", "reason"), [(gone, "is not stored"), (damaged, "sum")])
def test_a_pin_that_can_not_serve_is_no_pin_and_is_told_once(folder, shop, models, harm, reason):
    first = learn(folder, shop())
    newest = learn(folder, shop(policy=GREEDY))
    pinned = shop(policy={**GREEDY, "snapshot": first})
    place = folder.store.read(PAGE, first)[0]
    shutil.copytree(place, folder.path / "aside")
    harm(place)
    with capture_logs() as logs:
        assert served(models, pinned) == newest
        assert served(models, pinned) == newest
    [told] = logs
    assert told["log_level"] == "error"
    assert (told["experiment_id"], told["snapshot_id"]) == (PAGE, first)
    assert reason in told["reason"]
    assert "take policy.snapshot out" in told["event"]
    # Put back, it serves.
    shutil.rmtree(place, ignore_errors=True)
    (folder.path / "aside").rename(place)
    assert served(models, pinned) == first


def test_a_pin_of_what_never_was_leaves_an_untrained_policy(shop, models):
    with capture_logs() as logs:
        assert served(models, shop(policy={"snapshot": NOWHERE})) == ""
    assert [one["snapshot_id"] for one in logs] == [NOWHERE]


def test_a_pin_of_counts_without_a_model_is_told(folder, shop, models):
    counts = learn(folder, shop(policy={"preset": "uniform"}))
    with capture_logs() as logs:
        assert served(models, shop(policy={"snapshot": counts})) == ""
    assert "uniform learns none" in logs[0]["reason"]


def test_a_pin_that_serves_goes_on_when_its_folder_is_lost(folder, shop, models):
    first = learn(folder, shop())
    learn(folder, shop(policy=GREEDY))
    pinned = shop(policy={**GREEDY, "snapshot": first})
    assert served(models, pinned) == first
    gone(folder.store.read(PAGE, first)[0])
    assert served(models, pinned) == first
