"""A changed policy is learned from the log beside the one that serves: politely, and from where it was."""

import pytest

from bandit.core.records import ORIGIN, Arm
from bandit.eventlog.joined import read_joined
from bandit.learning import backlog
from bandit.learning.backlog import Backlog
from bandit.learning.fold import ModelFold
from bandit.learning.trainer import BATCH_EVENTS, FAR_BEHIND_US, PUBLISH_FAR_BEHIND_EVERY_US, Trainer
from bandit.learning.verification import verify
from bandit.policies.model import ModelSpec
from bandit.snapshots.manifest import spec_of
from bandit.snapshots.store import SnapshotStore

PAGE = "front-page"
GREEDY = {"preset": "epsilon_greedy"}


class Watch:
    """Notes what was learned and published, in order."""

    def __init__(self):
        self.batches = []
        self.published_ids = []
        self.left = {}

    def learned(self, experiment_id, events):
        self.batches.append((experiment_id, events))

    def lag_us(self, lag_us): ...

    def behind(self, experiment_id, events):
        self.left.setdefault(experiment_id, []).append(events)

    def published(self, experiment_id):
        self.published_ids.append(experiment_id)

    def events(self, experiment_id):
        return sum(events for name, events in self.batches if name == experiment_id)


def learner(folder):
    watch = Watch()
    store = SnapshotStore(folder.path)
    return Trainer(folder.log, store, clock_us=folder.clock, watch=watch), watch


def settle(trainer):
    while trainer.step(lambda: False):
        pass


def long_ago(folder, experiment, decisions):
    """Half as many joined events, learned by the policy in force; none of them is new."""
    folder.define(experiment)
    folder.play(experiment, decisions)
    folder.pass_seconds(FAR_BEHIND_US / 1e6 + 1)
    folder.learn()


def furthest_of(folder, experiment):
    digest = ModelSpec.of(experiment).digest
    return next(name for name in folder.store.names(experiment.id) if spec_of(name) == digest)


def joined(folder, name, experiment_id=PAGE):
    return folder.store.read(experiment_id, name)[1].joined


def test_who_is_up_to_date_stays_so_beside_those_that_are_learned_anew(folder, shop):
    for name in ("one", "two"):
        long_ago(folder, shop(id=name), 4 * BATCH_EVENTS)
    for name in ("one", "two"):
        folder.define(shop(id=name, policy=GREEDY))
    folder.define(shop())
    trainer, watch = learner(folder)
    for left in (True, True, True, False):
        folder.play(shop(), 10)
        folder.pass_seconds(0.001)
        before = len(watch.batches)
        assert trainer.step(lambda: False) is left
        # One batch of what is far behind, and all that the other waits for.
        assert sorted(events for _, events in watch.batches[before:]) == [5, BATCH_EVENTS]
    # They take turns.
    assert [name for name, _ in watch.batches if name != PAGE] == ["one", "two", "one", "two"]
    assert watch.events(PAGE) == 20
    settle(trainer)
    trainer.finish()
    for name in ("one", "two"):
        assert joined(folder, furthest_of(folder, shop(id=name, policy=GREEDY)), name) == 2 * BATCH_EVENTS


def test_what_is_far_behind_publishes_rarely_and_at_once_when_it_is_not(folder, shop):
    long_ago(folder, shop(), 12 * BATCH_EVENTS)
    folder.define(shop(policy=GREEDY))
    trainer, watch = learner(folder)
    step_us = PUBLISH_FAR_BEHIND_EVERY_US // 4
    published = []
    for _ in range(5):
        folder.now_us += step_us
        assert trainer.step(lambda: False)
        published.append(len(watch.published_ids))
    assert published == [1, 1, 1, 1, 2]
    folder.now_us += step_us
    assert not trainer.step(lambda: False)  # the last batch: it has caught up
    assert len(watch.published_ids) == 3
    assert joined(folder, furthest_of(folder, shop(policy=GREEDY))) == 6 * BATCH_EVENTS


def test_a_crash_in_the_middle_costs_a_few_seconds_of_it(folder, shop):
    changed = shop(policy=GREEDY)
    long_ago(folder, shop(), 8 * BATCH_EVENTS)
    folder.define(changed)
    trainer, _ = learner(folder)
    trainer.step(lambda: False)
    folder.now_us += PUBLISH_FAR_BEHIND_EVERY_US
    trainer.step(lambda: False)  # published here, and killed after one batch more
    trainer.step(lambda: False)
    again, watch = learner(folder)
    settle(again)
    again.finish()
    assert watch.events(PAGE) == 2 * BATCH_EVENTS
    assert verify(folder.log, folder.store, lambda what, done, total: None).ok


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": GREEDY},
        {"policy": {"preset": "squarecb", "gamma_scale": 7}},
        {"signals": {"age": {"type": "number", "range": [0, 50]}, "plan": {"type": "category"}}},
    ],
    ids=["preset", "option", "signals"],
)
def test_with_traffic_going_on_nothing_is_lost_or_reset(folder, shop, changes):
    experiment, changed = shop(), shop(**changes)
    long_ago(folder, experiment, 4 * BATCH_EVENTS)
    last_of_the_old = folder.store.names(PAGE)[0]
    folder.define(changed)
    trainer, _ = learner(folder)
    for _ in range(10):
        folder.play(changed, 20)
        folder.pass_seconds(0.5)
        trainer.step(lambda: False)
    settle(trainer)
    trainer.finish()
    caught_up = furthest_of(folder, changed)
    assert folder.store.names(PAGE)[0] == caught_up
    assert furthest_of(folder, experiment) == last_of_the_old
    assert joined(folder, caught_up) == 2 * BATCH_EVENTS + 100
    # What it learned, and explores by, is what it would have been from the first day on.
    assert verify(folder.log, folder.store, lambda what, done, total: None).ok
    _, now_us = folder.log.head()
    events = read_joined(folder.log, PAGE, ORIGIN, now_us, 10_000)
    treated = sum(event.decision.arm is Arm.TREATMENT for event in events)
    assert folder.store.read(PAGE, caught_up)[1].state["events"] == treated


def test_what_the_old_policy_has_learned_and_not_published_serves_too(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    trainer, watch = learner(folder)
    folder.pass_seconds(0.001)
    settle(trainer)
    folder.play(experiment, 20)
    folder.now_us -= 1_000_000  # so that it is too early to publish again
    settle(trainer)
    assert len(watch.published_ids) == 1
    folder.define(shop(policy=GREEDY))
    settle(trainer)
    assert joined(folder, furthest_of(folder, experiment)) > 10
    trainer.finish()


def test_a_definition_that_the_disk_came_in_the_way_of_is_taken_again(folder, shop, monkeypatch):
    experiment, changed = shop(), shop(policy=GREEDY)
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    trainer, _ = learner(folder)
    settle(trainer)
    folder.define(changed)
    folder.pass_seconds(1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_put_away", full)
        with pytest.raises(OSError, match="No space"):
            trainer.step(lambda: False)
    settle(trainer)
    trainer.finish()
    assert joined(folder, furthest_of(folder, changed)) == 10


def test_what_is_still_to_be_learned_is_told_until_nothing_is(folder, shop):
    long_ago(folder, shop(), 6 * BATCH_EVENTS)
    folder.define(shop(policy=GREEDY))
    folder.play(shop(policy=GREEDY), 40)
    trainer, watch = learner(folder)
    folder.pass_seconds(1)
    settle(trainer)
    trainer.finish()
    whole = 3 * BATCH_EVENTS + 20
    assert watch.left[PAGE] == [whole - BATCH_EVENTS, whole - 2 * BATCH_EVENTS, whole - 3 * BATCH_EVENTS, 0]


@pytest.mark.parametrize("entries", [1, 7, 1_000])
@pytest.mark.parametrize("taken", [1, 13])
def test_a_backlog_counts_each_event_once_whatever_its_pages(folder, shop, monkeypatch, entries, taken):
    """Entries are more than events: one for each decision, and one for each reward that closed it."""
    monkeypatch.setattr(backlog, "PAGE_ENTRIES", entries)
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 40)
    folder.pass_seconds(601)
    _, now_us = folder.log.head()
    events = read_joined(folder.log, PAGE, ORIGIN, now_us, 1_000)
    assert len(events) == 40
    left = Backlog(ORIGIN)
    for index in range(0, len(events), taken):
        left.count(folder.log, PAGE, now_us)
        assert 0 <= left.events <= len(events) - index
        batch = events[index : index + taken]
        left.learned(len(batch), batch[-1].position)
    for _ in range(100):
        left.count(folder.log, PAGE, now_us)
    assert left.events == 0
    whole = Backlog(ORIGIN)
    for _ in range(100):
        whole.count(folder.log, PAGE, now_us)
    assert whole.events == 40
    whole.learned(30, events[29].position)
    assert whole.events == 10


def test_a_pinned_snapshot_outlives_all_pruning_and_no_longer(folder, shop):
    experiment = shop()
    folder.define(experiment)

    def round_of_learning():
        folder.play(experiment, 4)
        folder.pass_seconds(1)
        trainer = folder.trainer(keep=1)  # a new one each time: it knows pins from the log alone
        settle(trainer)
        trainer.finish()

    round_of_learning()
    [first] = folder.store.names(PAGE)
    folder.define(shop(policy={"snapshot": first}))
    for _ in range(3):
        round_of_learning()
    newest, kept = folder.store.names(PAGE)
    assert kept == first
    assert joined(folder, newest) == 8  # learning goes on as before, in the same model
    folder.define(shop(policy={"preset": "uniform", "snapshot": newest}))
    for _ in range(3):
        round_of_learning()
    assert first not in folder.store.names(PAGE)
    assert newest in folder.store.names(PAGE)
    assert verify(folder.log, folder.store, lambda what, done, total: None).ok
    folder.define(experiment)
    round_of_learning()
    assert newest not in folder.store.names(PAGE)


def test_what_is_pinned_in_the_moment_of_a_publication_is_kept(folder, shop, monkeypatch):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 4)
    folder.pass_seconds(1)
    trainer = folder.trainer(keep=1)
    settle(trainer)
    [first] = folder.store.names(PAGE)
    folder.play(experiment, 4)
    folder.pass_seconds(1)
    take = ModelFold.take

    def pinned_meanwhile(fold, events):
        take(fold, events)
        folder.define(shop(policy={"snapshot": first}))

    monkeypatch.setattr(ModelFold, "take", pinned_meanwhile)
    settle(trainer)
    assert len(folder.store.names(PAGE)) == 2
    assert folder.store.names(PAGE)[1] == first
    trainer.finish()
