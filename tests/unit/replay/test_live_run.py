"""A server's decisions made again, beside those that another release's models made."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from bandit.cli.main import app_for
from bandit.core.choose import View, choose
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.log import NewDecision, NewReward
from bandit.learning.fold import ModelFold
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.replay.errors import BadLog
from bandit.snapshots.store import MODEL
from other_format import as_format

HOME = "snapshots/e-front-page"


class Run:
    """Decisions as a server makes them, with the furthest snapshot that there is."""

    def __init__(self, folder, experiment):
        self.folder, self.experiment = folder, experiment
        folder.define(experiment)
        self._made = self._rewarded = 0

    def decide(self, named=""):
        """Five decisions; with `named` they say that they were made with this snapshot."""
        definition = list(self.folder.log.definitions())[-1]
        view = View.of(self.experiment, definition.version, definition.salt)
        names = [] if named else self.folder.store.names("front-page")
        fold, policy = None, untrained_policy(ModelSpec.of(self.experiment))
        if names:
            path, manifest = self.folder.store.read("front-page", names[0])
            fold = ModelFold.resume(manifest, path)
            policy = fold.learner.policy(names[0])
        for _ in range(5):
            self._made += 1
            made = choose(
                view,
                policy,
                decision_id=f"made-{self._made}",
                subject="",
                context={"age": float(self._made), "channel": "x"},
                variants=self.experiment.catalogue(),
                call_variants=False,
            )
            made = made._replace(snapshot_id=named or made.snapshot_id)
            record = encode_decision(made, b"digest")
            self.folder.now_us += 10_000
            self.folder.log.append([NewDecision(made, record, self.experiment.reward.window_us)])
        if fold is not None:
            fold.close()

    def learn(self):
        """Every decision without one gets its reward, and what has closed is learned."""
        while self._rewarded < self._made:
            self._rewarded += 1
            self.folder.now_us += 10_000
            value = float(self._rewarded % 3 == 0)
            self.folder.log.append([NewReward(f"made-{self._rewarded}", "", value, "", None)])
        self.folder.pass_seconds(1)
        self.folder.learn()


@pytest.fixture
def upgraded(folder, shop):
    """A run whose first model is of an earlier release; then this one learned anew and went on.

    5 decisions before any snapshot, 5 with the earlier release's, 5 with this one's.
    """
    run = Run(folder, shop())
    run.decide()
    run.learn()
    earlier = as_format(folder.snapshot("front-page"), 3)
    run.decide(earlier)
    run.learn()
    run.decide()
    run.learn()
    run.earlier = earlier
    return run


@pytest.fixture
def live_run(judged):
    def made_again(run):
        return judged(run.folder.path, "logged", learning=True).live_run

    return made_again


def test_what_an_earlier_release_decided_is_counted_and_the_rest_made_again(upgraded, live_run):
    found = live_run(upgraded)
    assert (found.other_release, found.reproduced, found.of) == (5, 10, 10)
    assert (found.final_snapshot_equal, found.differs, found.equal) == (True, "", True)


def test_the_exit_code_is_0_and_the_count_is_told(upgraded):
    given = ["replay", str(upgraded.folder.path), "--policy", "logged"]
    shown = CliRunner().invoke(app_for(given), given, env={"NO_COLOR": "1", "COLUMNS": "100"})
    assert shown.exit_code == 0, shown.output
    assert "live run: 10 of 10 decisions came out as logged, the last snapshot is equal" in shown.output
    assert "5 more decisions were made with models of another release's format" in shown.output
    ran = CliRunner().invoke(app_for([*given, "--json"]), [*given, "--json"])
    assert json.loads(ran.stdout)["live_run"]["other_release"] == 5


def test_a_row_of_this_release_that_was_altered_is_still_found(upgraded, live_run, monkeypatch):
    from bandit.replay import live_run as module

    real, calls = module.choose, []

    def off_by_a_hair(view, policy, **rest):
        calls.append(rest["decision_id"])
        made = real(view, policy, **rest)
        return made._replace(treatment_share=0.5) if len(calls) == 8 else made

    monkeypatch.setattr(module, "choose", off_by_a_hair)
    found = live_run(upgraded)
    assert (found.reproduced, found.of, found.equal) == (9, 10, False)


def test_a_row_that_names_a_model_of_nobodys_is_refused_with_what_to_do(upgraded, live_run):
    unknown = upgraded.earlier[:-8] + "0a1b2c3d"
    upgraded.decide(unknown)
    with pytest.raises(BadLog, match=f"Row [0-9]+ was decided with snapshot {unknown}, .* put its snapshots"):
        live_run(upgraded)


def test_an_earlier_release_without_a_snapshot_left_is_not_believed(upgraded, live_run):
    shutil.rmtree(upgraded.folder.path / HOME / upgraded.earlier)
    with pytest.raises(BadLog, match=r"no stored snapshot shows .* replay with that release"):
        live_run(upgraded)


def test_an_earlier_release_is_not_believed_by_a_damaged_manifest(upgraded, live_run):
    path = upgraded.folder.path / HOME / upgraded.earlier / "manifest.json"
    path.write_text(path.read_text().replace('"joined": 5', '"joined": 6'))
    with pytest.raises(BadLog, match="no stored snapshot shows"):
        live_run(upgraded)


def test_a_row_that_names_an_earlier_releases_snapshot_from_after_it_is_refused(upgraded, live_run):
    closing_us, _, digest = upgraded.earlier.split("-")
    after = f"{closing_us}-{upgraded.folder.log.head()[0] + 1:010d}-{digest}"
    upgraded.decide(after)
    with pytest.raises(BadLog, match="comes after it"):
        live_run(upgraded)


def test_the_last_snapshot_is_this_releases_whatever_stands_beside_it(upgraded, live_run):
    home = upgraded.folder.path / HOME
    mine = upgraded.folder.store.names("front-page")[0]
    (home / "zz-garbage").mkdir()
    upgraded.decide(upgraded.earlier)
    upgraded.learn()
    as_format(home / upgraded.folder.store.names("front-page")[1], 1)  # the first name is the garbage
    found = live_run(upgraded)
    assert (found.final_snapshot_equal, found.equal, found.other_release) == (True, True, 10)
    (home / mine / MODEL).write_bytes(b"")
    with pytest.raises(BadLog, match="sum of the model's files"):
        live_run(upgraded)
