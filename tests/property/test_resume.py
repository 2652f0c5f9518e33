"""The model after any interruption equals the model without it."""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.policies.model import ModelSpec, load_learner, load_policy, new_learner

EVENTS = 60
CATALOGUE = (Variant("a", {"price": 1.0}), Variant("b", {"price": 3.5, "kind": "x"}), Variant("c"))
SIGNALS = {
    "age": {"type": "number"},
    "income": {"type": "number"},
    "channel": {"type": "category"},
    "new": {"type": "flag"},
}
POLICIES = [
    {"preset": "squarecb"},
    {"preset": "epsilon_greedy"},
    {"preset": "squarecb", "vw": "--sgd"},
    {"preset": "squarecb", "vw": "--l1 1e-5 --l2 1e-4 -q UU --ignore_linear U"},
    {"preset": "squarecb", "vw": "--adaptive --power_t 0.3 --noconstant", "bits": 12},
]


def events(seed):
    chance = random.Random(seed)
    for seq in range(1, EVENTS + 1):
        context = {
            "age": chance.gauss(40, 12),
            "income": chance.lognormvariate(8, 2),
            "channel": chance.choice("xyz"),
            "new": chance.random() < 0.5,
        }
        variants = (
            CATALOGUE if chance.random() < 0.7 else [Variant(f"v{n}", {"price": float(n)}) for n in range(4)]
        )
        even = [1 / len(variants)] * len(variants)
        decision = Decision(
            experiment_id="e",
            version=1,
            decision_id=str(seq),
            subject="",
            context={name: context[name] for name in chance.sample(sorted(context), 3)},
            variants=variants,
            call_variants=variants is not CATALOGUE,
            distribution=even,
            policy_distribution=even,
            chosen=chance.randrange(len(variants)),
            arm=chance.choice(list(Arm)),
            source=Source.LEARNED,
            stage=Stage.RAMP,
            treatment_share=0.5,
            snapshot_id="",
        )
        yield JoinedEvent(Position(seq, seq), seq, decision, Outcome.REWARDED, chance.random(), False, {})


def probes():
    chance = random.Random(7)
    return [{"age": chance.gauss(40, 12), "channel": chance.choice("xyz"), "new": True} for _ in range(10)]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), stops=st.sets(st.integers(0, EVENTS - 1), max_size=6), asked=st.booleans())
def test_saved_and_loaded_anywhere_a_learner_ends_up_the_same(define, policy, seed, stops, asked):
    spec = ModelSpec.of(define(signals=SIGNALS, policy=policy))
    whole = new_learner(spec)
    broken = new_learner(spec)
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.vw")
        for index, event in enumerate(events(seed)):
            whole.learn(event)
            if asked:
                broken.policy("live").distribution(event.decision.context, event.decision.variants)
            broken.learn(event)
            if index in stops:
                broken.save(path)
                state = json.loads(json.dumps(broken.state()))
                broken.close()
                broken = load_learner(ModelSpec.from_json(spec.to_json()), path, state)
        assert broken.fingerprint() == whole.fingerprint()
        assert broken.state() == whole.state()
        broken.save(path)
        loaded = load_policy(spec, path, broken.state(), "s1")
        live = whole.policy("s1")
        for context in probes():
            assert broken.predict(context, CATALOGUE) == whole.predict(context, CATALOGUE)
            assert loaded.distribution(context, CATALOGUE) == live.distribution(context, CATALOGUE)
        loaded.close()
    whole.close()
    broken.close()


def test_different_events_leave_different_fingerprints(define):
    spec = ModelSpec.of(define(signals=SIGNALS))
    fingerprints = set()
    for seed in (1, 1, 2):
        learner = new_learner(spec)
        for event in events(seed):
            learner.learn(event)
        fingerprints.add(learner.fingerprint())
        learner.close()
    assert len(fingerprints) == 2
