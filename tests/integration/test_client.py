"""The Python clients against a real server."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

import bandit.client
import bandit.client.aio
from bandit.client import BanditError, Choice, ChooseCall, RewardCall, RewardStatus, Source, Variant
from waiting import until

TIMEOUT_S = 10.0
CONTEXT: dict[str, Any] = {"recency": 3, "channel": "Web", "mens": True, "interests": ["golf", "tea"]}
CATALOGUE = ["no_email", "mens_email", "womens_email"]


def test_a_choice_is_made_rewarded_and_not_rewarded_twice(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S) as client:
        choice = client.choose("spring-email", CONTEXT, subject_id="u1", consents=["marketing"])
        assert choice.source in (Source.UNTRAINED, Source.LEARNED)
        assert choice.arm == "TREATMENT"
        assert list(choice.distribution) == CATALOGUE
        assert sum(choice.distribution.values()) == pytest.approx(1.0, abs=1e-9)
        assert choice.propensity == choice.distribution[choice.variant_id]
        templates = {"mens_email": {"template": "mens-spring"}, "womens_email": {"template": "womens-spring"}}
        assert choice.payload == templates.get(choice.variant_id)
        assert client.reward(choice.decision_id, 1.0) is RewardStatus.RECORDED
        assert client.reward(choice.decision_id, 1.0) is RewardStatus.DUPLICATE
        observed_at = datetime(2026, 5, 1, tzinfo=UTC)
        other = client.choose("spring-email", CONTEXT)
        complaint = client.reward(other.decision_id, 1.0, metric="complaint", observed_at=observed_at)
        assert complaint is RewardStatus.RECORDED
        assert client.reward("never-made", 1.0) is RewardStatus.UNKNOWN_DECISION


def test_the_same_id_and_body_is_the_same_choice_and_another_body_is_a_conflict(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S, fallback="no_email") as client:
        first = client.choose("spring-email", CONTEXT, decision_id="d1")
        again = client.choose("spring-email", dict(reversed(CONTEXT.items())), decision_id="d1")
        assert again == first
        with pytest.raises(BanditError) as raised:
            client.choose("spring-email", {"recency": 4}, decision_id="d1")
        assert (raised.value.reason, raised.value.code) == (
            "DECISION_ID_CONFLICT",
            grpc.StatusCode.ALREADY_EXISTS,
        )


def test_variants_of_the_call_and_exclusions_decide_what_may_be_served(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S) as client:
        left = client.choose("spring-email", {}, excluded={"mens_email", "womens_email"})
        assert left.distribution == {"no_email": 1.0}
        variants = [Variant("a", {"size": 2, "tags": {"new"}}, payload=["x"]), "b"]
        own = client.choose("own-variants", {"anything": "goes"}, variants=variants)
        assert list(own.distribution) == ["a", "b"]
        assert own.payload == (["x"] if own.variant_id == "a" else None)


def test_a_refusal_says_which_signal_is_wrong_and_is_never_a_fallback(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S, fallback="no_email") as client:
        with pytest.raises(BanditError) as raised:
            client.choose("spring-email", {"recency": "3"})
        error = raised.value
        assert (error.reason, error.code) == ("WRONG_TYPE", grpc.StatusCode.INVALID_ARGUMENT)
        assert error.metadata["signal"] == "recency"
        assert [violation.field for violation in error.violations] == ["context[recency]"]
        with pytest.raises(BanditError, match="UNKNOWN_EXPERIMENT") as raised:
            client.choose("no-such-experiment", {})
        assert raised.value.metadata["experiment_id"] == "no-such-experiment"


def test_batches_keep_their_order_and_a_bad_item_fails_alone(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S, fallback="no_email") as client:
        calls = [
            ChooseCall("spring-email", CONTEXT, decision_id="first"),
            ChooseCall("spring-email", {"undeclared": 1}),
            ChooseCall("spring-email", CONTEXT),
        ]
        first, bad, last = client.choose_batch(calls)
        assert isinstance(first, Choice)
        assert first.decision_id == "first"
        assert isinstance(bad, BanditError)
        assert (bad.reason, bad.metadata["signal"]) == ("UNDECLARED_SIGNAL", "undeclared")
        assert isinstance(last, Choice)
        rewards = [
            RewardCall("first", 1.0),
            RewardCall("", 1.0),
            RewardCall(last.decision_id, 2.0),
            RewardCall(last.decision_id, 0.0),
        ]
        recorded, not_sent, refused, other = client.reward_batch(rewards)
        assert (recorded, not_sent, other) == ("RECORDED", "NOT_SENT", "RECORDED")
        assert isinstance(refused, BanditError)
        assert refused.reason == "REWARD_OUT_OF_RANGE"


def test_the_asyncio_client_makes_the_same_loop_with_many_calls_in_flight(server: str) -> None:
    async def one(client: bandit.client.aio.BanditClient) -> RewardStatus:
        choice = await client.choose("spring-email", CONTEXT)
        assert choice.variant_id in CATALOGUE
        return await client.reward(choice.decision_id, 0.0)

    async def run() -> list[RewardStatus]:
        async with bandit.client.aio.BanditClient(server, timeout_s=TIMEOUT_S) as client:
            choices = await client.choose_batch([ChooseCall("spring-email", {})])
            assert isinstance(choices[0], Choice)
            assert await client.reward_batch([RewardCall(choices[0].decision_id, 0.0)]) == ["RECORDED"]
            return await asyncio.gather(*(one(client) for _ in range(64)))

    assert set(asyncio.run(run())) == {RewardStatus.RECORDED}


def test_a_stopped_sidecar_means_the_fallback_until_it_is_back(servers: Any) -> None:
    address = servers.start("127.0.0.1:0")
    with bandit.client.BanditClient(address, timeout_s=TIMEOUT_S, fallback="no_email") as client:
        assert client.choose("spring-email", CONTEXT).source is Source.UNTRAINED
        servers.stop()
        away = client.choose("spring-email", CONTEXT)
        assert (away.source, away.variant_id, away.decision_id) == ("FALLBACK", "no_email", "")
        assert client.reward(away.decision_id, 1.0) is RewardStatus.NOT_SENT
        servers.start(address)

        def reached() -> Choice | None:
            choice = client.choose("spring-email", CONTEXT)
            return None if choice.source is Source.FALLBACK else choice

        back = until(reached, "the client's return to its sidecar")
        assert client.reward(back.decision_id, 1.0) is RewardStatus.RECORDED


def test_rewards_are_learned_until_choices_come_from_a_snapshot(server: str) -> None:
    with bandit.client.BanditClient(server, timeout_s=TIMEOUT_S) as client:
        for _ in range(10_000):
            choice = client.choose("spring-email", CONTEXT)
            if choice.source is Source.LEARNED:
                break
            client.reward(choice.decision_id, 1.0 if choice.variant_id == "mens_email" else 0.0)
        assert choice.source is Source.LEARNED
        assert choice.snapshot_id
