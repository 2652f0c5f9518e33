"""Many experiments in one process: the least recently used policies go, and come back as they were."""

import gc
import itertools
import shutil

import pytest

from bandit.core.choose import View
from bandit.learning.steps import finished
from bandit.policies.model import ModelSpec, load_policy
from bandit.policies.reading import Reader
from bandit.policies.vw import oracle, stored
from bandit.policies.vw.encoding import Encoder
from bandit.serving import models as serving_models
from bandit.serving.models import POLICIES_IN_MEMORY, QUICK_POLICIES, Models
from bandit.snapshots.store import MODEL

CONTEXTS = [{"age": 20.0 + age, "channel": channel} for age, channel in itertools.product((0, 15, 40), "xyz")]
SHARED = [{"id": name, "features": {"price": price}} for name, price in (("a", 1), ("b", 2), ("c", 4))]


def view(experiment):
    return View.of(experiment, 1, b"salt")


def shares(policy, view):
    return [list(policy.distributions([context], view.catalogue)[0]) for context in CONTEXTS]


@pytest.fixture
def shops(folder, shop):
    """Four experiments that have learned; the variants of every second one share features."""
    made = []
    for index in range(4):
        experiment = shop(id=f"shop-{index}", **({"variants": SHARED} if index % 2 else {}))
        folder.define(experiment)
        folder.play(experiment, 60)
        made.append(experiment)
    folder.pass_seconds(1)
    folder.learn()
    return made


@pytest.fixture
def opened(monkeypatch):
    """How each Vowpal Wabbit workspace that is set up for a policy was asked for."""
    found = []
    workspace = stored.Workspace

    def noted(arguments, model=None):
        found.append("--sparse_weights" in arguments)
        return workspace(arguments, model)

    monkeypatch.setattr(stored, "Workspace", noted)
    return found


def test_a_policy_that_was_unloaded_comes_back_with_the_same_distributions(folder, shops, monkeypatch):
    monkeypatch.setattr(serving_models, "POLICIES_IN_MEMORY", 2)
    models = Models(folder.store)
    views = [view(experiment) for experiment in shops]
    before = [shares(models.policy(one), one) for one in views]
    assert models.in_memory() == ["shop-2", "shop-3"]
    assert not models.has("shop-0")
    assert [shares(models.policy(one), one) for one in views] == before
    assert models.in_memory() == ["shop-2", "shop-3"]


def test_no_more_policies_than_the_limit_stay_in_memory(folder, shop):
    models = Models(folder.store)
    for index in range(POLICIES_IN_MEMORY + 44):
        models.policy(view(shop(id=f"shop-{index}")))
        assert len(models.in_memory()) <= POLICIES_IN_MEMORY
    assert models.in_memory()[0] == "shop-44"


def test_vowpal_wabbit_is_set_up_only_where_variants_share_features(folder, shops, opened):
    models = Models(folder.store)
    plain, sharing = view(shops[0]), view(shops[1])
    shares(models.policy(plain), plain)
    assert opened == []
    shares(models.policy(sharing), sharing)
    assert opened == [False]


def loaded(folder, experiment):
    """The newest snapshot's policy before its first prediction, and where its files are."""
    name = folder.store.names(experiment.id)[0]
    place, manifest = folder.store.read(experiment.id, name)
    return load_policy(ModelSpec.from_json(manifest.spec), place, dict(manifest.state), name), place


def test_a_policy_can_ask_vowpal_wabbit_when_its_snapshot_is_long_gone(folder, shops, opened):
    sharing = view(shops[1])
    policy, _ = loaded(folder, shops[1])
    before = shares(policy, sharing)
    policy, place = loaded(folder, shops[1])
    (place / MODEL).write_bytes(b"altered")
    shutil.rmtree(place)
    assert shares(policy, sharing) == before
    assert opened == [False, False]


def test_with_many_in_memory_policies_are_compact_and_predict_the_same(folder, shop, shops, opened):
    models = Models(folder.store)
    sharing = view(shops[1])
    before = shares(models.policy(sharing), sharing)
    crowded = Models(folder.store)
    for index in range(QUICK_POLICIES + 1):
        crowded.policy(view(shop(id=f"another-{index}")))
    assert shares(crowded.policy(sharing), sharing) == before
    assert opened == [False, True]


def test_a_large_model_is_never_compact(folder, shops, opened, monkeypatch):
    monkeypatch.setattr(stored, "COMPACT_BYTES_MAX", 10)
    monkeypatch.setattr(serving_models, "QUICK_POLICIES", -1)
    sharing = view(shops[1])
    shares(Models(folder.store).policy(sharing), sharing)
    assert opened == [False]


def test_a_model_that_can_not_be_set_up_breaks_the_distribution_alone(folder, shops, monkeypatch):
    def refused(arguments, model=None):
        raise oracle.IncompatibleModel("Vowpal Wabbit can't load the model")

    policy, _ = loaded(folder, shops[1])
    monkeypatch.setattr(stored, "Workspace", refused)
    with pytest.raises(oracle.BrokenDistribution, match="can't load"):
        policy.distributions([CONTEXTS[0]], shops[1].catalogue())[0]


def test_names_are_read_again_only_where_something_was_published(folder, shops, monkeypatch):
    models = Models(folder.store)
    views = [view(experiment) for experiment in shops]
    for one in views:
        models.policy(one)
    folder.play(shops[2], 20)
    folder.pass_seconds(1)
    folder.learn()
    read = []
    names = folder.store.names
    monkeypatch.setattr(folder.store, "names", lambda one: read.append(one) or names(one))
    assert [finished(models.refreshing(one)) for one in views] == [False, False, True, False]
    assert read == ["shop-2"]
    assert not any(finished(models.refreshing(one)) for one in views)
    assert read == ["shop-2"]


def test_an_unloaded_policy_is_freed_apart_from_the_load_that_took_its_place(folder, shops, monkeypatch):
    monkeypatch.setattr(serving_models, "POLICIES_IN_MEMORY", 1)
    models = Models(folder.store)
    first, second = (view(experiment) for experiment in shops[:2])
    policy = models.policy(first)
    models.policy(second)
    assert shares(policy, first)
    models.close_unused()
    with pytest.raises(ValueError, match="closed"):
        shares(policy, first)


def test_a_policy_is_freed_without_a_collection(folder, shops, monkeypatch):
    monkeypatch.setattr(serving_models, "POLICIES_IN_MEMORY", 1)
    models = Models(folder.store)
    gc.disable()
    try:
        for experiment in shops:
            models.policy(view(experiment))
        models.close_unused()
        for kind in (Reader, Encoder):
            assert len([one for one in gc.get_objects() if type(one) is kind]) == 1
    finally:
        gc.enable()


def test_what_changes_while_a_policy_is_loaded_is_taken_afterwards(folder, shop):
    experiment = shop(policy={"preset": "fixed:a"})
    models = Models(folder.store)
    models.policy(view(shop(id="another")))
    assert models.loaded_lately() == ["another"]
    list(models.loading(view(experiment)))
    changed = view(shop(policy={"preset": "fixed:b"}))
    assert shares(models.policy(changed), changed)[0][:2] == [1, 0]
    assert models.loaded_lately() == [experiment.id]
    assert models.loaded_lately() == []
    assert finished(models.refreshing(changed))
    assert shares(models.policy(changed), changed)[0][:2] == [0, 1]


def test_a_policy_that_is_unloaded_while_it_is_refreshed_stays_unloaded(folder, shops, monkeypatch):
    monkeypatch.setattr(serving_models, "POLICIES_IN_MEMORY", 1)
    models = Models(folder.store)
    views = [view(experiment) for experiment in shops]
    models.policy(views[0])
    folder.play(shops[0], 20)
    folder.pass_seconds(1)
    folder.learn()
    refreshing = models.refreshing(views[0])
    next(refreshing)
    models.policy(views[1])
    assert not finished(refreshing)
    assert models.in_memory() == ["shop-1"]
    models.close_unused()
    assert shares(models.policy(views[1]), views[1])
