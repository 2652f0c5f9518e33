"""The trainer of many experiments keeps few folds in memory, also within one step."""

from bandit.learning import trainer as learning_trainer
from bandit.learning.fold import ModelFold
from bandit.learning.trainer import PUBLISH_EVERY_US

SECOND_US = 1_000_000


def test_one_step_over_many_experiments_never_holds_more_folds_than_the_limit(folder, shop, monkeypatch):
    monkeypatch.setattr(learning_trainer, "FOLDS_IN_MEMORY", 3)
    held, most = set(), 0

    def counting(make):
        def made(*args):
            nonlocal most
            fold = make(*args)
            held.add(id(fold))
            most = max(most, len(held))
            return fold

        return made

    monkeypatch.setattr(ModelFold, "start", counting(ModelFold.start))
    monkeypatch.setattr(ModelFold, "resume", counting(ModelFold.resume))
    close = ModelFold.close

    def closing(fold):
        held.discard(id(fold))
        close(fold)

    monkeypatch.setattr(ModelFold, "close", closing)
    shops = [shop(id=f"shop-{index}") for index in range(8)]
    for experiment in shops:
        folder.define(experiment)
    trainer = folder.trainer()
    for _ in range(2):
        for experiment in shops:
            folder.play(experiment, 4)
        folder.pass_seconds(1)
        while trainer.step(lambda: False):
            pass
    assert most == 3
    trainer.finish()
    assert not held
    assert [folder.store.read(e.id, folder.store.names(e.id)[0])[1].joined for e in shops] == [4] * 8


def test_what_finds_no_room_is_learned_in_turn_and_what_is_in_memory_in_each_step(folder, shop, monkeypatch):
    monkeypatch.setattr(learning_trainer, "FOLDS_IN_MEMORY", 2)
    shops = [shop(id=f"shop-{index}") for index in range(5)]
    trainer, learned = folder.trainer(), []
    monkeypatch.setattr(folder.watch, "learned", lambda experiment_id, events: learned.append(experiment_id))
    for experiment in shops[:2]:
        folder.define(experiment)
        folder.play(experiment, 4)
    folder.pass_seconds(0.1)
    assert not trainer.step(lambda: False)
    for experiment in shops[2:]:
        folder.define(experiment)
    for experiment in shops:
        folder.play(experiment, 4)
    folder.now_us -= 3 * SECOND_US  # none is far behind
    folder.pass_seconds(0.1)
    del learned[:]
    assert trainer.step(lambda: False)
    assert learned == ["shop-0", "shop-1", "shop-2"]
    while trainer.step(lambda: False):
        pass
    assert learned == [experiment.id for experiment in shops]
    trainer.finish()


def test_where_many_learn_at_once_their_snapshots_are_apart_and_each_has_its_turn(folder, shop, monkeypatch):
    apart_us = PUBLISH_EVERY_US // 2
    monkeypatch.setattr(learning_trainer, "PUBLISH_APART_US", apart_us)
    names = ["one", "two", "three", "four"]
    published = []
    monkeypatch.setattr(folder.watch, "published", published.append)
    for name in names:
        folder.define(shop(id=name))
    trainer = folder.trainer()
    for _ in range(2):
        for name in names:
            folder.play(shop(id=name), 2)
        folder.pass_seconds(0.1)
        assert not trainer.step(lambda: False)
        assert published == ["one", "two"]
        folder.pass_seconds(apart_us / SECOND_US)
        trainer.step(lambda: False)
        assert published == ["one", "two", "three"]
        folder.pass_seconds(1)
        trainer.step(lambda: False)
        assert published == names
        del published[:]
    trainer.finish()
    assert published == []


def test_a_clock_that_was_set_back_stops_no_publication(folder, shop, monkeypatch):
    monkeypatch.setattr(learning_trainer, "PUBLISH_APART_US", PUBLISH_EVERY_US)
    published = []
    monkeypatch.setattr(folder.watch, "published", published.append)
    for name in ("one", "two"):
        folder.define(shop(id=name))
        folder.play(shop(id=name), 2)
    folder.pass_seconds(0.1)
    trainer = folder.trainer()
    trainer.step(lambda: False)
    assert published == ["one"]
    folder.now_us -= 3600 * SECOND_US
    trainer.step(lambda: False)
    assert published == ["one", "two"]
    trainer.finish()
