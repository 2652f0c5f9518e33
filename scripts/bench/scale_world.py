"""What `scale` measures on: many experiments, calls as large as they may be, and logs of any length.

Logs are written in bulk, as an import writes them: with their checksums, but without a server. Decisions are
made once by `core.choose` and stored many times under new ids, since all experiments have the same signals
and variants of the same names.
"""

import itertools
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import world

from bandit import experiment_file
from bandit.core.choose import View, choose
from bandit.core.experiment import Experiment
from bandit.core.records import Features, RewardStatus, Variant
from bandit.eventlog.codec import TICK, encode_decision, encode_experiment, encode_reward
from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.importing.bulk import BulkWriter
from bandit.eventlog.log import NewReward
from bandit.ids import TimeOrderedIds
from bandit.learning.trainer import Trainer
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.v1 import bandit_pb2 as pb

LARGE = "large"
"""The experiment without variants or signals of its own: its calls bring both."""

LARGE_VARIANTS, LARGE_FEATURES, LARGE_CONTEXT = 200, 20, 1_000
TEMPLATES, TEMPLATES_LARGE = 500, 30
FILLED_SECONDS = 6_000
"""How long ago the first event was; they are spread evenly up to a minute ago."""

_HEAD = """
  - id: {id}
    owner: bench@example.com
    variants:{variants}
    signals:{signals}
    reward: {{metric: click, range: [0, 1], window: 1h, default: none, learn: on_reward}}
    rollout: {{stage: full}}
"""
_VARIANT = "      - {{id: variant-{index}{features}}}"
_SIGNALS = """
      recency:  {type: number, range: [0, 365], purpose: personalization}
      history:  {type: number, purpose: personalization}
      basket:   {type: number, purpose: personalization}
      visits:   {type: number, range: [0, 1000], purpose: personalization}
      city:     {type: category, purpose: personalization}
      channel:  {type: category, values: [web, app, phone], purpose: personalization}
      segment:  {type: category, purpose: personalization}
      language: {type: category, purpose: personalization}
      newbie:   {type: flag, purpose: personalization}
      member:   {type: flag, purpose: personalization}"""


def name(index: int) -> str:
    """The id of one of the many experiments."""
    return f"experiment-{index:04d}"


def write_many(folder: Path, count: int) -> Path:
    """An experiments file of `count`, the last one LARGE. The variants of every second one share features."""
    texts = [_HEAD.format(id=LARGE, variants=" []", signals=" open")]
    for index in range(count - 1):
        variants = [
            _VARIANT.format(
                index=number,
                features=f", features: {{price: {number + 0.5}, kind: kind-{number % 3}}}"
                if index % 2
                else "",
            )
            for number in range(10)
        ]
        body = "\n" + "\n".join(variants) + "\n    baseline: variant-0"
        texts.append(_HEAD.format(id=name(index), variants=body, signals=_SIGNALS))
    path = folder / "many.yaml"
    path.write_text("experiments:" + "".join(texts))
    return path


@dataclass(frozen=True, slots=True)
class _Stored:
    """A decision's record, and the reward that it gets."""

    record: bytes
    reward: bytes


def fill(data_dir: Path, experiments: Path, events: int, rng: random.Random) -> None:
    """A log with so many rewarded decisions of each experiment, in turn, all closed."""
    loaded = experiment_file.load(experiments)
    assert not loaded.problems, loaded.problems
    new_id = TimeOrderedIds()
    data_dir.mkdir(mode=0o700)
    end_us = time.time_ns() // 1000 - 60_000_000
    total = events * len(loaded.experiments)
    at_us, step_us = end_us - FILLED_SECONDS * 1_000_000, max(2, FILLED_SECONDS * 1_000_000 // max(total, 1))
    with BulkWriter(data_dir / DATABASE_NAME, indexed=False) as writer:
        kinds: dict[bool, list[_Stored]] = {}
        for experiment in loaded.experiments:
            record = encode_experiment(experiment, 1, secrets.token_bytes(16))
            writer.row("experiment", experiment.id, "", at_us, record, version=1)
            if bool(experiment.variants) not in kinds:
                kinds[bool(experiment.variants)] = _templates(experiment, rng) if events else []
        shown = time.monotonic()
        for number in range(events):
            for experiment in loaded.experiments:
                templates = kinds[bool(experiment.variants)]
                stored = templates[rng.randrange(len(templates))]
                at_us += step_us
                decision_id = new_id()
                seq = writer.row(
                    "decision",
                    experiment.id,
                    decision_id,
                    at_us,
                    stored.record,
                    version=1,
                    closes_us=at_us + experiment.reward.window_us,
                )
                writer.row(
                    "reward",
                    experiment.id,
                    decision_id,
                    at_us,
                    stored.reward,
                    key=f"metric:{experiment.reward.metric}",
                    closes_us=at_us,
                    closes_seq=seq,
                )
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                world.progress(f"  {(number + 1) * len(loaded.experiments):,} of {total:,} events")
        writer.row("tick", "", "", end_us, TICK)
        writer.finish()


def _templates(experiment: Experiment, rng: random.Random) -> list[_Stored]:
    """Decisions as an untrained policy makes them, with rewards that depend on context and variant."""
    view = View.of(experiment, 1, b"salt")
    policy = untrained_policy(ModelSpec.of(experiment))
    own = [_variants(LARGE_VARIANTS, LARGE_FEATURES, rng) for _ in range(10)]
    made = []
    for index in range(TEMPLATES if view.catalogue else TEMPLATES_LARGE):
        context: Features = world.context(rng)
        decision = choose(
            view,
            policy,
            decision_id=f"template-{index}",
            subject="",
            context=context,
            variants=view.catalogue or rng.choice(own),
            call_variants=not view.catalogue,
        )
        chance = 0.05 + 0.03 * (decision.chosen % 10) + 0.2 * (context["channel"] == "web")
        reward = NewReward("", "", float(rng.random() < chance), "", None)
        record = encode_reward(reward, experiment.reward.metric, RewardStatus.RECORDED)
        made.append(_Stored(encode_decision(decision, b""), record))
    return made


def _variants(count: int, features: int, rng: random.Random) -> tuple[Variant, ...]:
    def values() -> dict[str, str | float | bool]:
        found: dict[str, str | float | bool] = {}
        for index in range(features):
            if index % 2:
                found[f"feature-{index}"] = round(rng.uniform(0, 100), 2)
            else:
                found[f"feature-{index}"] = f"value-{rng.randrange(20)}"
        return found

    return tuple(Variant(f"item-{index}", values()) for index in range(count))


def choose_bodies(experiment_id: str, count: int, rng: random.Random) -> list[bytes]:
    """Serialised ChooseRequests of the usual size."""
    made = []
    for _ in range(count):
        request = pb.ChooseRequest.FromString(world.choose_body(rng))
        request.experiment_id = experiment_id
        made.append(request.SerializeToString())
    return made


def large_bodies(
    count: int, rng: random.Random, *, variants: int, features: int, context: int
) -> list[bytes]:
    """ChooseRequests with so many variants of their own, features a variant, and entries of context."""
    made = []
    for body in choose_bodies(LARGE, count, rng):
        request = pb.ChooseRequest.FromString(body)
        for variant in _variants(variants, features, rng):
            target = request.variants.add(id=variant.id).features
            for key, value in variant.features.items():
                if isinstance(value, float):
                    target[key].number = value
                else:
                    target[key].text = str(value)
        for index in itertools.count():
            if len(request.context) >= context:
                break
            if index % 2:
                request.context[f"entry-{index}"].number = rng.random()
            else:
                request.context[f"entry-{index}"].text = f"value-{rng.randrange(100)}"
        made.append(request.SerializeToString())
    return made


def steps(trainer: Trainer, counts: world.Counts, until: int | None = None) -> Iterator[int]:
    """Steps a trainer until it has learned all, or `until` events; yields how many after each step."""
    more = True
    while more and (until is None or counts.events < until):
        more = trainer.step(lambda: False)
        yield counts.events


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
