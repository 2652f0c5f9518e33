"""A snapshot whose policy fails on the probe does not serve, and what is in force goes on."""

import re

import pytest
from structlog.testing import capture_logs

from bandit.core.choose import View
from bandit.learning import trial
from bandit.learning.steps import finished
from bandit.learning.trial import Unservable, tried
from bandit.serving.models import Models

PAGE = "front-page"
NAN = float("nan")


def raising(contexts, variants):
    raise ZeroDivisionError("no gap at all")


def answering(distribution):
    """Gives this for each context."""
    return lambda contexts, variants: [distribution for _ in contexts]


FAILURES = {
    "raises": (raising, r"it fails on a probe: ZeroDivisionError\('no gap at all'\)"),
    "predicts nothing": (answering(None), "the model predicts nothing sound"),
    "answers for no context": (lambda contexts, variants: [], "it fails on a probe: ValueError"),
    "too few": (answering([1.0]), "expected 3 probabilities, got 1"),
    "too many": (answering([0.25] * 4), "expected 3 probabilities, got 4"),
    "no number": (answering([0.5, NAN, 0.5]), "sum to nan"),
    "infinite": (answering([float("inf"), 0.0, 0.0]), r"outside \[0, 1\]"),
    "negative": (answering([-0.5, 0.75, 0.75]), r"outside \[0, 1\]"),
    "half of it": (answering([0.5, 0.0, 0.0]), "probabilities sum to 0.5"),
}

failing = pytest.mark.parametrize(("failure", "reason"), FAILURES.values(), ids=FAILURES)


class Spoilt:
    """A loaded policy that fails when it is asked."""

    def __init__(self, policy, failure):
        self.snapshot_id = policy.snapshot_id
        self.distributions = failure
        self.closed = False
        self._policy = policy

    def close(self):
        self.closed = True
        self._policy.close()


@pytest.fixture
def spoil(monkeypatch):
    """Lets a snapshot's policy fail from now on; lists the policies that were loaded of it since."""

    def spoilt(name, failure):
        loaded, load = [], trial.load_policy

        def loading(spec, place, state, snapshot_id, **options):
            policy = load(spec, place, state, snapshot_id, **options)
            if snapshot_id != name:
                return policy
            loaded.append(Spoilt(policy, failure))
            return loaded[-1]

        monkeypatch.setattr(trial, "load_policy", loading)
        return loaded

    return spoilt


@pytest.fixture
def three(shop):
    """An experiment of three variants."""
    return shop(variants=[{"id": name} for name in "abc"])


def learn(folder, experiment):
    """Plays, learns and publishes; answers with the new snapshot."""
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    return folder.store.names(PAGE)[0]


@failing
def test_a_policy_that_fails_on_the_probe_can_not_serve_and_is_freed(folder, three, spoil, failure, reason):
    folder.define(three)
    name = learn(folder, three)
    loaded = spoil(name, failure)
    with pytest.raises(Unservable, match=reason):
        tried(folder.store, PAGE, name, three.catalogue())
    assert [policy.closed for policy in loaded] == [True]


def test_a_sound_policy_is_the_callers_and_is_left_open(folder, three, spoil):
    folder.define(three)
    name = learn(folder, three)
    asked = []

    def sound(contexts, variants):
        asked.append((contexts, [variant.id for variant in variants]))
        return [[1 / len(variants)] * len(variants)]

    loaded = spoil(name, sound)
    policy, manifest = tried(folder.store, PAGE, name, three.catalogue())
    assert (policy, policy.closed, manifest.snapshot_id) == (loaded[0], False, name)
    policy.close()
    # Where every call brings its own variants, one is made up.
    tried(folder.store, PAGE, name, ())[0].close()
    assert asked == [([{}], ["a", "b", "c"]), ([{}], ["probe"])]


@failing
def test_the_server_keeps_the_policy_in_force_and_takes_the_next_sound_one(
    folder, three, spoil, failure, reason
):
    folder.define(three)
    view = View.of(three, 1, b"salt")
    first = learn(folder, three)
    models = Models(folder.store)
    in_force = models.policy(view)
    assert in_force.snapshot_id == first
    loaded = spoil(learn(folder, three), failure)
    with capture_logs() as logs:
        for count in range(3):
            # Another process is at work there: what stands is looked at again.
            (folder.snapshot(PAGE).parent / f".aside-{count}").mkdir()
            assert not finished(models.refreshing(view))
            assert models.policy(view) is in_force
        # A server that starts now has only the same to choose from.
        assert Models(folder.store).policy(view).snapshot_id == first
    assert sum(in_force.distributions([{}], three.catalogue())[0]) == pytest.approx(1)
    # By the one server once, not at each refresh; and by the other.
    assert [log["event"] for log in logs] == ["snapshot refused"] * 2
    assert all(log["log_level"] == "error" and re.search(reason, log["reason"]) for log in logs)
    assert [policy.closed for policy in loaded] == [True] * 2
    third = learn(folder, three)
    assert finished(models.refreshing(view))
    assert models.policy(view).snapshot_id == third


def test_without_a_sound_snapshot_an_untrained_policy_serves(folder, three, spoil):
    folder.define(three)
    spoil(learn(folder, three), raising)
    with capture_logs() as logs:
        policy = Models(folder.store).policy(View.of(three, 1, b"salt"))
    assert policy.snapshot_id == ""
    assert policy.distributions([{}], three.catalogue()) == [pytest.approx([1 / 3] * 3)]
    assert [log["event"] for log in logs] == ["snapshot refused"]
