"""What becomes of a call that failed, and of the items of a batch: the same for both clients."""

from collections.abc import Sequence

import grpc

from bandit.client.choice import Choice, RewardStatus, reward_status
from bandit.client.errors import UNREACHABLE, BanditError
from bandit.core import limits
from bandit.v1 import bandit_pb2 as pb


def fallback_or_raise(error: BanditError, request: pb.ChooseRequest, fallback: str | None) -> Choice:
    """The fallback choice if the service could not be asked and the request allows the variant.

    Raises `error` for everything else: a refusal is the caller's bug, and a fallback would hide it for ever.
    """
    choice = None
    if fallback is not None and _not_now(error, request.ByteSize()):
        choice = Choice.fallback(fallback, request)
    if choice is None:
        raise error
    return choice


def failed_batch(
    error: BanditError, batch: pb.ChooseBatchRequest, fallback: str | None
) -> list[Choice | BanditError]:
    """A fallback choice an item, `error` where an item doesn't allow it. Raises `error` as for one call."""
    if fallback is None or not _not_now(error, batch.ByteSize()):
        raise error
    return [Choice.fallback(fallback, request) or error for request in batch.requests]


def choices(
    response: pb.ChooseBatchResponse, batch: pb.ChooseBatchRequest, fallback: str | None
) -> list[Choice | BanditError]:
    """What became of each item, in order: a choice, a fallback choice, or the item's error."""
    outcomes: list[Choice | BanditError] = []
    for request, result in zip(batch.requests, response.results, strict=True):
        if result.HasField("response"):
            outcomes.append(Choice.from_response(result.response))
            continue
        error = BanditError.from_item(result.error)
        try:
            outcomes.append(fallback_or_raise(error, request, fallback))
        except BanditError:
            outcomes.append(error)
    return outcomes


def statuses(
    response: pb.RewardBatchResponse, decision_ids: Sequence[str]
) -> list[RewardStatus | BanditError]:
    """What became of each reward, in order of `decision_ids`; the empty ones among them were not sent."""
    results = iter(response.results)
    outcomes: list[RewardStatus | BanditError] = []
    for decision_id in decision_ids:
        if not decision_id:
            outcomes.append(RewardStatus.NOT_SENT)
            continue
        result = next(results)
        sound = result.HasField("response")
        outcomes.append(reward_status(result.response) if sound else BanditError.from_item(result.error))
    return outcomes


def _not_now(error: BanditError, request_bytes: int) -> bool:
    # The transport answers RESOURCE_EXHAUSTED to a message over the limit, too, and that is the caller's bug.
    too_large = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and request_bytes > limits.MESSAGE_BYTES
    return error.code in UNREACHABLE and not too_large
