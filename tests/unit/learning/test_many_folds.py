"""The trainer of many experiments keeps few folds in memory, also within one step."""

from bandit.learning import trainer as learning_trainer
from bandit.learning.fold import ModelFold


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
