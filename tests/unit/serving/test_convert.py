"""Messages and checked data: what a process isn't needed for."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.errors import Reason, Refused
from bandit.serving import convert
from bandit.v1 import bandit_pb2 as pb

T = TypeVar("T")
LIMIT_FIELDS = {"field", "limit", "value"}


def taken_or_refused(call: Callable[[], T]) -> T | Refused:
    try:
        return call()
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("seconds", [-(2**63), -1, 0, 2**63 - 1])
def test_any_time_of_observation_is_taken(seconds: int) -> None:
    request = pb.RewardRequest(decision_id="d", value=1, observed_at=Timestamp(seconds=seconds, nanos=1_999))
    assert convert.new_reward(request).observed_at_us == seconds * 1_000_000 + 1


def test_without_a_time_of_observation_there_is_none() -> None:
    assert convert.new_reward(pb.RewardRequest(decision_id="d", value=1)).observed_at_us is None


@given(
    st.text(max_size=70),
    st.dictionaries(st.text(max_size=70), st.one_of(st.none(), st.text(), st.floats(), st.booleans())),
)
def test_whatever_is_sent_is_taken_as_it_came_or_refused_with_a_reason(
    name: str, context: dict[str, str | float | bool | None]
) -> None:
    request = pb.ChooseRequest(experiment_id=name)
    for key, item in context.items():
        value = request.context[key]
        if isinstance(item, bool):
            value.flag = item
        elif isinstance(item, float):
            value.number = item
        elif item is not None:
            value.text = item
    taken = taken_or_refused(lambda: convert.choose_call(request))
    if isinstance(taken, Refused):
        assert taken.reason in {Reason.LIMIT_EXCEEDED, Reason.MISSING_ID, Reason.INVALID_ID}
        assert taken.violations[0].field == taken.metadata["field"]
        if taken.reason is Reason.LIMIT_EXCEEDED:
            assert set(taken.metadata) == LIMIT_FIELDS
            assert int(taken.metadata["value"]) > int(taken.metadata["limit"])
    else:
        assert taken.experiment_id == name
        # By repr, because NaN does not equal itself; it is refused later, with the signals.
        assert repr(dict(sorted(taken.context.items()))) == repr(dict(sorted(context.items())))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(body: bytes) -> None:
    parsed = taken_or_refused(lambda: convert.parse(pb.ChooseBatchRequest, body))
    assert isinstance(parsed, pb.ChooseBatchRequest) or parsed.reason is Reason.MALFORMED_MESSAGE
