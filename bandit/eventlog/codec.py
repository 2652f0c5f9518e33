"""Decisions, rewards and definitions <-> the protobuf records that the log stores (`bandit.log.v1`).

What comes back is checked: a record that can't be one of ours raises CorruptRecord. Columns (ids, seq, times)
are not in the records. How decisions are encoded is `bandit.eventlog.encoding`'s, and how they are decoded
`bandit.eventlog.decoding`'s.
"""

from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import DecodeError, Message

from bandit.core.experiment import Experiment
from bandit.core.records import RewardStatus
from bandit.eventlog.decoding import corrupt
from bandit.eventlog.decoding import decode_decision as decode_decision  # part of this module's interface
from bandit.eventlog.encoding import encode_call_variants as encode_call_variants  # so are these
from bandit.eventlog.encoding import encode_decision as encode_decision
from bandit.eventlog.log import Definition, NewReward
from bandit.log.v1 import records_pb2 as pb

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


def decode_digest(record: bytes) -> bytes:
    """The request digest of a decision's record. Raises CorruptRecord."""
    try:
        return pb.DecisionRecord.FromString(record).request_digest
    except DecodeError as error:
        raise corrupt("a decision", error) from error


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
        raise corrupt("a reward", error) from error
    return stored.metric, stored.value


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
        raise corrupt(f"the definition in row {seq}", error) from error
    return Definition(experiment, stored.version, stored.salt, seq, stored.imported_from)


def message_of(kind: str, record: bytes) -> Message:
    """The protobuf message of a row, for exports. Raises CorruptRecord."""
    try:
        return _MESSAGES[kind].FromString(record)
    except (DecodeError, LookupError) as error:
        raise corrupt(f"a row of kind {kind!r}", error) from error
