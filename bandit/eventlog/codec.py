"""Decisions, rewards and definitions <-> the protobuf records that the log stores (`bandit.log.v1`).

What comes back is checked: a record that can't be one of ours raises CorruptRecord. Columns (ids, seq, times)
are not in the records.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from google.protobuf.message import DecodeError, Message

from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, Features, FeatureValue, RewardStatus, Source, Stage, Variant
from bandit.eventlog.log import CorruptRecord, Definition, NewReward
from bandit.log.v1 import records_pb2 as pb

_ARMS: Mapping[int, Arm] = MappingProxyType({int(arm): arm for arm in Arm})
_STAGES: Mapping[int, Stage] = MappingProxyType({int(stage): stage for stage in Stage})
_SOURCES: Mapping[int, Source] = MappingProxyType(
    {int(source): source for source in Source if source is not Source.FALLBACK}
)
# A DUPLICATE is not stored, so the numbers differ from the core's.
_STATUSES: Mapping[RewardStatus, pb.RewardStatus.ValueType] = MappingProxyType(
    {
        RewardStatus.RECORDED: pb.REWARD_STATUS_RECORDED,
        RewardStatus.LATE: pb.REWARD_STATUS_LATE,
        RewardStatus.UNKNOWN_DECISION: pb.REWARD_STATUS_UNKNOWN_DECISION,
    }
)
_MESSAGES: Mapping[str, type[Message]] = MappingProxyType(
    {
        "decision": pb.DecisionRecord,
        "reward": pb.RewardRecord,
        "reward_unknown": pb.RewardRecord,
        "experiment": pb.ExperimentRecord,
        "tick": pb.TickRecord,
    }
)
# google.protobuf.Timestamp is defined for the years 1 to 9999 only.
_TIMESTAMP_MIN_US = -62_135_596_800_000_000
_TIMESTAMP_MAX_US = 253_402_300_799_999_999

TICK = b""
"""The record of a tick."""


def encode_decision(decision: Decision, digest: bytes) -> bytes:
    """The record of a decision; `digest` is the keyed digest of the request as sent.

    Raises ValueError for a FALLBACK decision: what was not logged must never look as if it had been.
    """
    if decision.source is Source.FALLBACK:
        raise ValueError("a FALLBACK decision is never stored")
    record = pb.DecisionRecord(
        version=decision.version,
        variant_ids=[variant.id for variant in decision.variants],
        probabilities=decision.distribution,
        policy_probabilities=decision.policy_distribution,
        chosen=decision.chosen,
        arm=int(decision.arm),  # type: ignore[arg-type]  # the numbers are the same by contract, and a test
        source=int(decision.source),  # type: ignore[arg-type]
        stage=int(decision.stage),  # type: ignore[arg-type]
        treatment_share=decision.treatment_share,
        snapshot_id=decision.snapshot_id,
        request_digest=digest,
        pdrop=decision.pdrop,
    )
    _encode_features(record.context, decision.context)
    if decision.call_variants:
        for variant in decision.variants:
            _encode_features(record.call_variants.add(id=variant.id).features, variant.features)
    return record.SerializeToString()


def decode_decision(
    experiment_id: str,
    decision_id: str,
    subject: str | None,
    record: bytes,
    catalogue: Callable[[int], tuple[Variant, ...]],
) -> Decision:
    """The decision of a record. `catalogue` gives the catalogue of a version of its experiment.

    Where nothing was excluded, `variants` is the catalogue object itself. Payloads of variants that came with
    the call were not stored. Raises CorruptRecord.
    """
    try:
        stored = pb.DecisionRecord.FromString(record)
        version = stored.version
        variants: Sequence[Variant]
        call_variants = len(stored.call_variants) > 0
        if call_variants:
            variants = [Variant(v.id, _decode_features(v.features)) for v in stored.call_variants]
        else:
            variants = catalogue(version)
        # Most decisions are between all variants: comparing ids is cheaper than looking each one up.
        if [variant.id for variant in variants] != stored.variant_ids:
            by_id = {variant.id: variant for variant in variants}
            variants = [by_id[variant_id] for variant_id in stored.variant_ids]
        distribution = list(stored.probabilities)
        policy_distribution = list(stored.policy_probabilities)
        chosen = stored.chosen
        if not len(distribution) == len(policy_distribution) == len(variants):
            raise ValueError("its distributions are not parallel to its variants")
        propensity, pdrop = distribution[chosen], stored.pdrop
        # A source that did not say what was drawn from left nothing but NaN, which differs from itself.
        unknown = propensity != propensity and all(known != known for known in distribution)
        if not (0.0 < propensity <= 1.0 or unknown):
            raise ValueError("its propensity is outside (0, 1]")
        if not 0.0 <= pdrop < 1.0:
            raise ValueError("its pdrop is outside [0, 1)")
        return Decision(
            experiment_id,
            version,
            decision_id,
            subject or "",
            _decode_features(stored.context),
            variants,
            call_variants,
            distribution,
            policy_distribution,
            chosen,
            _ARMS[stored.arm],
            _SOURCES[stored.source],
            _STAGES[stored.stage],
            stored.treatment_share,
            stored.snapshot_id,
            pdrop,
        )
    except (DecodeError, LookupError, ValueError) as error:
        raise _corrupt(f"decision {decision_id!r}", error) from error


def decode_digest(record: bytes) -> bytes:
    """The request digest of a decision's record. Raises CorruptRecord."""
    try:
        return pb.DecisionRecord.FromString(record).request_digest
    except DecodeError as error:
        raise _corrupt("a decision", error) from error


def encode_reward(reward: NewReward, metric: str, status: RewardStatus) -> bytes:
    """The record of a reward; `metric` is the primary metric's own name where the reward left it empty."""
    record = pb.RewardRecord(
        metric=metric,
        value=reward.value,
        reward_id=reward.reward_id,
        status=_STATUSES[status],
    )
    if reward.observed_at_us is not None:
        # The caller's clock is stored, not judged; but a time that no Timestamp can hold is brought to its
        # edge.
        observed_us = min(max(reward.observed_at_us, _TIMESTAMP_MIN_US), _TIMESTAMP_MAX_US)
        seconds, rest_us = divmod(observed_us, 1_000_000)
        record.observed_at.seconds = seconds
        record.observed_at.nanos = rest_us * 1000
    return record.SerializeToString()


def decode_reward(record: bytes) -> tuple[str, float]:
    """(metric, value) of a reward's record. Raises CorruptRecord."""
    try:
        stored = pb.RewardRecord.FromString(record)
    except DecodeError as error:
        raise _corrupt("a reward", error) from error
    return stored.metric, stored.value


def encode_call_variants(variants: Sequence[Variant]) -> bytes:
    """What a decision that came with these variants has in its record beyond one of the catalogue.

    Encoded messages of a kind, one after the other, are one message: so many decisions can share this part.
    """
    record = pb.DecisionRecord()
    for variant in variants:
        _encode_features(record.call_variants.add(id=variant.id).features, variant.features)
    return record.SerializeToString()


def encode_experiment(experiment: Experiment, version: int, salt: bytes, imported_from: str = "") -> bytes:
    """The record of a definition that came into force."""
    return pb.ExperimentRecord(
        version=version,
        definition_json=experiment.canonical_json(),
        salt=salt,
        imported_from=imported_from,
    ).SerializeToString()


def decode_experiment(record: bytes, seq: int) -> Definition:
    """The definition in the row `seq`. Raises CorruptRecord."""
    try:
        stored = pb.ExperimentRecord.FromString(record)
        experiment = Experiment.from_json(stored.definition_json)
    except (DecodeError, ValueError) as error:  # pydantic's and json's errors are ValueErrors
        raise _corrupt(f"the definition in row {seq}", error) from error
    return Definition(experiment, stored.version, stored.salt, seq, stored.imported_from)


def message_of(kind: str, record: bytes) -> Message:
    """The protobuf message of a row, for exports. Raises CorruptRecord."""
    try:
        return _MESSAGES[kind].FromString(record)
    except (DecodeError, LookupError) as error:
        raise _corrupt(f"a row of kind {kind!r}", error) from error


def _encode_features(target: "Mapping[str, pb.FeatureValue]", features: Features) -> None:
    for name, value in features.items():
        if type(value) is str:
            target[name].text = value
        elif type(value) is float:
            target[name].number = value
        elif type(value) is bool:
            target[name].flag = value
        elif type(value) is tuple:
            target[name].texts.values.extend(value)
        else:
            raise TypeError(f"{name!r} is {type(value).__name__}, not a feature value")


def _decode_features(stored: "Mapping[str, pb.FeatureValue]") -> dict[str, FeatureValue]:
    features: dict[str, FeatureValue] = {}
    # A map has an order of its own in every process; a fold must see the same one everywhere.
    for name in sorted(stored):
        value = stored[name]
        # Which one is set costs more to ask than to try the two that most are: what isn't set reads as 0 or
        # "".
        features[name] = value.number or value.text or _decode_rare(name, value)
    return features


def _decode_rare(name: str, value: pb.FeatureValue) -> FeatureValue:
    match value.WhichOneof("value"):
        case "number":
            return value.number
        case "text":
            return value.text
        case "flag":
            return value.flag
        case "texts":
            return tuple(value.texts.values)
        case None:
            raise ValueError(f"{name!r} has no value")


def _corrupt(what: str, error: Exception) -> CorruptRecord:
    return CorruptRecord(
        f"The event log holds {what} that can't be read ({type(error).__name__}: {error}). It was altered "
        "or its disk is failing: run `banditd verify`; if that fails, restore the data folder from a backup."
    )
