"""The model after any interruption equals the model without it."""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.learning.fold import ModelFold
from bandit.policies.model import ModelSpec, load_learner, load_policy, new_learner, vw_version
from bandit.snapshots.store import SnapshotStore

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
    {"preset": "squarecb", "oracle": "vw"},
    {"preset": "squarecb", "vw": "--sgd"},
    {"preset": "squarecb", "vw": "--l1 1e-5 --l2 1e-4 -q UU --ignore_linear U"},
    {"preset": "squarecb", "vw": "--adaptive --power_t 0.3 --noconstant", "bits": 12},
]


def happened(seq, context, variants, chosen, arm, reward):
    """One joined event of a decision."""
    even = [1 / len(variants)] * len(variants)
    decision = Decision(
        experiment_id="e",
        version=1,
        decision_id=str(seq),
        subject="",
        context=context,
        variants=variants,
        call_variants=variants is not CATALOGUE,
        distribution=even,
        policy_distribution=even,
        chosen=chosen,
        arm=arm,
        source=Source.LEARNED,
        stage=Stage.RAMP,
        treatment_share=0.5,
        snapshot_id="",
    )
    return JoinedEvent(Position(seq, seq), seq, decision, Outcome.REWARDED, reward, False, {})


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
        yield happened(
            seq,
            {name: context[name] for name in chance.sample(sorted(context), 3)},
            variants,
            chance.randrange(len(variants)),
            chance.choice(list(Arm)),
            chance.random(),
        )


def growing(seed, count):
    """Events with ever more signals, with variants that come and go, and with rewards that turn halfway."""
    chance = random.Random(seed)
    # One of them brings more than there are dimensions.
    pace = chance.choice([0.05, 0.3, 2.0])
    for seq in range(1, count + 1):
        context = {}
        for name in chance.sample(range(1 + int(seq * pace)), min(1 + int(seq * pace), 5)):
            kind = name % 4
            context[f"s{name}"] = (
                chance.gauss(name, 2.0)
                if kind == 0
                else chance.choice("xyz")
                if kind == 1
                else chance.random() < 0.5
                if kind == 2
                else tuple(chance.sample("abcd", 2))
            )
        first = seq // 20
        variants = tuple(
            Variant(f"v{n}", {"price": float(n)} if n % 2 else {}) for n in range(first, first + 5)
        )
        chosen = chance.randrange(5)
        good = chosen == (0 if seq < count // 2 else 4)
        reward = float(chance.random() < (0.8 if good else 0.2))
        yield happened(seq, context, variants, chosen, chance.choice(list(Arm)), reward)


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
        path = Path(folder)
        for index, event in enumerate(events(seed)):
            whole.learn(event)
            if asked:
                broken.policy("live").distributions([event.decision.context], event.decision.variants)[0]
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
            assert (
                loaded.distributions([context], CATALOGUE)[0] == live.distributions([context], CATALOGUE)[0]
            )
        loaded.close()
    whole.close()
    broken.close()


def killed_anywhere(spec, joined, stops):
    """The fold of events that was killed at the `stops`, each some events after its last snapshot."""
    with TemporaryDirectory() as data_dir:
        store = SnapshotStore(Path(data_dir), keep=2)
        fold, index, killed = ModelFold.start(spec), 0, 0
        published = None
        while index < len(joined):
            fold.take([joined[index]])
            index += 1
            saves, kills = stops.get(index, (False, False))
            if saves:
                manifest = fold.manifest("e", vw_version())
                published = store.publish(manifest, fold.save)
                fold.published(published.snapshot_id)
            if kills and killed < 10:
                killed += 1
                fold.close()
                if published is None:
                    fold, index = ModelFold.start(spec), 0
                else:
                    folder, manifest = store.read("e", published.snapshot_id)
                    fold = ModelFold.resume(manifest, folder)
                    index = fold.position.seq
        return fold


@pytest.mark.parametrize("policy", [{}, {"preset": "epsilon_greedy"}, {"oracle": "vw"}], ids=str)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32),
    stops=st.dictionaries(st.integers(1, 200), st.tuples(st.booleans(), st.booleans()), max_size=12),
)
def test_killed_anywhere_a_fold_ends_up_the_same_while_signals_grow_and_variants_come_and_go(
    define, policy, seed, stops
):
    spec = ModelSpec.of(define(signals="open", policy=policy))
    joined = list(growing(seed, 200))
    whole = ModelFold.start(spec)
    whole.take(joined)
    broken = killed_anywhere(spec, joined, stops)
    assert broken.position == whole.position
    assert broken.learner.fingerprint() == whole.learner.fingerprint()
    ours, theirs = broken.manifest("e", ""), whole.manifest("e", "")
    assert (ours.state, ours.summary, ours.joined) == (theirs.state, theirs.summary, theirs.joined)
    for event in joined[-5:]:
        context, variants = event.decision.context, event.decision.variants
        for given_variants in (variants, list(variants), (*variants, Variant("never seen"))):
            assert (
                broken.learner.policy("s").distributions([context], given_variants)[0]
                == whole.learner.policy("s").distributions([context], given_variants)[0]
            )
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
