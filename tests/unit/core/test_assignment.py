import pytest

from bandit.core.assignment import arm, treatment_share
from bandit.core.experiment import Rollout
from bandit.core.records import Arm, Stage
from bandit.core.sampling import Uniform

SALT = b"0123456789abcdef"
SUBJECTS = [f"subject-{number}" for number in range(2_000)]


def treated(share, salt=SALT, experiment_id="front-page"):
    uniform = Uniform("arm", salt, experiment_id)
    return {subject for subject in SUBJECTS if arm(uniform, subject, share) is Arm.TREATMENT}


def rollout(stage, **shares):
    return Rollout.model_validate({"stage": stage, **shares})


@pytest.mark.parametrize("stage", ["draft", "shadow", "paused", "stopped"])
def test_stages_that_serve_the_baseline_treat_nobody(stage):
    assert treatment_share(rollout(stage, percent=50, holdout_percent=5)) == 0.0


def test_a_ramp_treats_its_percent_and_full_treats_all_but_the_holdout():
    assert treatment_share(rollout("ramp", percent=5, holdout_percent=10)) == pytest.approx(0.05)
    assert treatment_share(rollout("full", percent=5, holdout_percent=10)) == pytest.approx(0.9)
    assert treatment_share(rollout("full")) == 1.0


def test_every_stage_has_a_share():
    assert all(0.0 <= treatment_share(rollout(stage.name.lower())) <= 1.0 for stage in Stage)


def test_a_share_of_zero_treats_nobody_and_a_share_of_one_everybody():
    assert treated(0.0) == set()
    assert treated(1.0) == set(SUBJECTS)


def test_about_the_share_is_treated():
    assert len(treated(0.3)) / len(SUBJECTS) == pytest.approx(0.3, abs=0.05)


def test_the_holdout_of_a_ramp_is_the_holdout_of_full():
    holdout = set(SUBJECTS) - treated(treatment_share(rollout("full", holdout_percent=20)))
    assert holdout
    assert holdout.isdisjoint(treated(treatment_share(rollout("ramp", percent=80, holdout_percent=20))))


def test_experiments_and_salts_assign_independently():
    for other in (treated(0.5, salt=b"another salt...."), treated(0.5, experiment_id="back-page")):
        assert len(treated(0.5) & other) / len(SUBJECTS) == pytest.approx(0.25, abs=0.05)
