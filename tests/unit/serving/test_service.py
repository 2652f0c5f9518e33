"""Choose and Reward on a log that does what the test says, and what is counted of them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bandit.core.choose import Policy, View
from bandit.core.errors import Reason, Refused
from bandit.core.experiment import Experiment
from bandit.core.records import RewardStatus
from bandit.eventlog.group_commit import Appended, Synced
from bandit.eventlog.log import (
    Definition,
    Item,
    LogUnwritable,
    NewDecision,
    NewReward,
    RewardOutcome,
    StoredDecision,
)
from bandit.serving.loading import NotLoaded
from bandit.serving.metrics import Metrics
from bandit.serving.models import Models
from bandit.serving.service import Service
from bandit.serving.views import Views
from bandit.snapshots.store import SnapshotStore
from bandit.v1 import bandit_pb2 as pb

RECORDED = RewardOutcome(RewardStatus.RECORDED, "mail", "visit")
NO_SPACE = LogUnwritable("no space")
UNDECODABLE = b"\xff\xff"


class ScriptedLog:
    """Answers each item as `answer` says, or every batch with a failure; keeps what it was given.

    While `later` it tells what became of a batch only when the test says so; of a sync always.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.answer: Callable[[Item], Any] = lambda item: RECORDED if isinstance(item, NewReward) else None
        self.batches: list[list[Item]] = []
        self.later = False
        self.appends: list[Callable[[], None]] = []
        self.syncs: list[Synced] = []

    def append(self, batch: Sequence[Item], then: Appended) -> None:
        self.batches.append(list(batch))
        results = self.failure or [self.answer(item) for item in batch]
        if self.later:
            self.appends.append(lambda: then(results))
        else:
            then(results)

    def sync(self, then: Synced) -> None:
        self.syncs.append(then)

    def tell(self, failure: LogUnwritable | None = None) -> None:
        """Tells what waits for a sync that it has come."""
        syncs, self.syncs = self.syncs, []
        for then in syncs:
            then(failure)


class Replies(list[Any]):
    """What was delivered, in one go; serialised messages are read."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.deliveries = 0
        self._kind = kind

    def __call__(self, delivered: Sequence[bytes | Exception]) -> None:
        self.deliveries += 1
        self += [self._kind.FromString(one) if isinstance(one, bytes) else one for one in delivered]


class Room:
    """A service with the experiments mail, and strict, which rather fails than goes unlogged."""

    def __init__(self, folder: Path) -> None:
        experiments = {
            "mail": experiment("mail", on_log_failure="baseline", signals="open"),
            "strict": experiment("strict", on_log_failure="fail"),
        }
        views = Views()
        views.take(
            [Definition(one, 1, b"salt", seq) for seq, one in enumerate(experiments.values(), start=1)]
        )
        catalogue = frozenset(v.id for v in View.of(experiments["mail"], 1, b"").catalogue)
        self.log = ScriptedLog()
        self.models = Models(SnapshotStore(folder, keep=1))
        self.service = Service(
            views=views, models=self.models, log=self.log, key=b"key", metrics=Metrics(lambda _: catalogue)
        )

    def choose(self, *requests: pb.ChooseRequest | bytes) -> Replies:
        """What was delivered for the requests: for choices that is at once."""
        replies = Replies(pb.ChooseResponse)
        self.service.choose(requests, replies)
        assert replies.deliveries == 1
        return replies

    def reward(self, *requests: pb.RewardRequest | bytes) -> Replies:
        """What is, or will be, delivered for the requests."""
        replies = Replies(pb.RewardResponse)
        self.service.reward(requests, replies)
        return replies


def experiment(name: str, **changes: object) -> Experiment:
    return Experiment.model_validate(
        {
            "id": name,
            "owner": "growth@shop.example",
            "variants": [{"id": "a"}, {"id": "b", "payload": {"n": 1}}, {"id": "c"}],
            "baseline": "b",
            "reward": {"metric": "visit"},
            **changes,
        }
    )


def asking(decision_id: str = "", name: str = "mail", **fields: Any) -> pb.ChooseRequest:
    return pb.ChooseRequest(experiment_id=name, decision_id=decision_id, **fields)


def rewarding(decision_id: str = "d", **fields: Any) -> pb.RewardRequest:
    return pb.RewardRequest(decision_id=decision_id, **{"value": 1.0, **fields})


def told(replies: Replies) -> list[str]:
    """Each reply in a word: the decision's id, the reward's status, a refusal's reason, a bug's type."""
    words = []
    for reply in replies:
        if isinstance(reply, pb.ChooseResponse):
            words.append(reply.decision_id)
        elif isinstance(reply, pb.RewardResponse):
            words.append(pb.RewardStatus.Name(reply.status).removeprefix("REWARD_STATUS_"))
        elif isinstance(reply, Refused):
            words.append(reply.reason.value)
        else:
            words.append(type(reply).__name__)
    return words


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_without_its_log_a_choice_is_the_baseline_and_says_so(room: Room) -> None:
    room.log.failure = NO_SPACE
    responses = room.choose(asking("d1"), asking("d2"))
    for response in responses:
        assert (response.variant_id, response.propensity, response.payload_json) == ("b", 1, '{"n":1}')
        entries = [(entry.variant_id, entry.probability) for entry in response.distribution]
        assert entries == [("a", 0), ("b", 1), ("c", 0)]
        assert (response.source, response.arm) == (pb.DECISION_SOURCE_FALLBACK, pb.ARM_CONTROL)
        assert response.snapshot_id == ""
    assert told(responses) == ["d1", "d2"]


def test_an_experiment_may_rather_fail_than_go_unlogged_and_others_beside_it_do_not(room: Room) -> None:
    room.log.failure = NO_SPACE
    replies = room.choose(asking("d1", "strict"), asking("d2", "mail"), asking("d3", "no"))
    assert told(replies) == ["LOG_UNWRITABLE", "d2", "UNKNOWN_EXPERIMENT"]
    room.log.failure = None
    assert told(room.choose(asking("d1", "strict"))) == ["d1"]


def test_choices_are_committed_in_one_batch_before_they_are_delivered_and_in_order(room: Room) -> None:
    requests = [asking(f"d{n}", excluded_variant_ids=["a"] * (n % 2)) for n in range(10)]
    replies = room.choose(*requests)
    assert told(replies) == [f"d{n}" for n in range(10)]
    (batch,) = room.log.batches
    assert [item.decision.decision_id for item in batch if isinstance(item, NewDecision)] == told(replies)
    assert [len(reply.distribution) for reply in replies] == [3, 2] * 5
    assert not room.log.syncs


def test_requests_may_be_messages_or_serialised(room: Room) -> None:
    assert told(room.choose(asking("d1").SerializeToString(), asking("d2"))) == ["d1", "d2"]
    rewards = room.reward(rewarding().SerializeToString(), rewarding())
    room.log.tell()
    assert told(rewards) == ["RECORDED", "RECORDED"]


def test_one_bad_choice_takes_only_its_own_place(room: Room) -> None:
    replies = room.choose(
        asking("d1"),
        UNDECODABLE,
        asking("d2"),
        asking("d3", "no"),
        asking("d4", excluded_variant_ids=["a", "b", "c"]),
        asking("d5"),
        asking("x" * 10_000),
    )
    assert told(replies) == [
        "d1",
        "MALFORMED_MESSAGE",
        "d2",
        "UNKNOWN_EXPERIMENT",
        "NO_VARIANTS",
        "d5",
        "LIMIT_EXCEEDED",
    ]
    assert [len(batch) for batch in room.log.batches] == [3]


def test_nothing_is_appended_where_nothing_was_decided(room: Room) -> None:
    assert told(room.choose(UNDECODABLE, asking(name="no"))) == ["MALFORMED_MESSAGE", "UNKNOWN_EXPERIMENT"]
    assert room.choose() == []
    assert told(room.reward(UNDECODABLE)) == ["MALFORMED_MESSAGE"]
    assert room.reward().deliveries == 1
    assert room.log.batches == []


def test_a_bug_of_a_policy_takes_only_the_choices_that_it_was_asked_for(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = room.models.policy

    def policy(view: View) -> Any:
        if view.experiment.id == "strict":
            raise RuntimeError("a bug")
        return sound(view)

    monkeypatch.setattr(room.models, "policy", policy)
    replies = room.choose(asking("d1"), asking("d2", "strict"), asking("d3"))
    assert told(replies) == ["d1", "RuntimeError", "d3"]


def test_a_context_that_a_policy_fails_on_takes_only_its_own_place(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Fails:
        snapshot_id = "s1"

        def distributions(self, contexts: Sequence[Any], variants: Sequence[Any]) -> list[list[float] | None]:
            asked.append(len(contexts))
            if {"bad": "x"} in contexts:
                raise RuntimeError("a bug")
            return [None if "none" in context else [0.0, 0.0, 1.0] for context in contexts]

    monkeypatch.setattr(room.models, "policy", lambda view: Fails())
    replies = room.choose(
        asking("d1"),
        asking("d2", context={"bad": pb.FeatureValue(text="x")}),
        asking("d3", context={"none": pb.FeatureValue(flag=True)}),
        asking("d4"),
    )
    assert told(replies) == ["d1", "RuntimeError", "d3", "d4"]
    # All at once; then, since that failed, each alone.
    assert asked == [4, 1, 1, 1, 1]
    assert [reply.variant_id for reply in replies if not isinstance(reply, Exception)] == ["c", "b", "c"]
    assert replies[2].source == pb.DECISION_SOURCE_BASELINE


def test_each_choice_is_drawn_from_what_the_policy_says_of_its_own_context(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Follows:
        snapshot_id = "s1"

        def distributions(self, contexts: Sequence[Any], variants: Sequence[Any]) -> list[list[float]]:
            return [[float(variant.id == context["wants"]) for variant in variants] for context in contexts]

    monkeypatch.setattr(room.models, "policy", lambda view: Follows())
    wanted = ["c", "a", "b", "b", "a"]
    replies = room.choose(
        *[asking(f"d{n}", context={"wants": pb.FeatureValue(text=id)}) for n, id in enumerate(wanted)]
    )
    likeliest = [max(reply.distribution, key=lambda entry: entry.probability) for reply in replies]
    assert [entry.variant_id for entry in likeliest] == wanted


def test_each_choice_is_among_its_own_variants(room: Room) -> None:
    replies = room.choose(
        asking("d1"),
        asking("d2", excluded_variant_ids=["a"]),
        asking("d3", "strict"),
        asking("d4", variants=[pb.Variant(id="x"), pb.Variant(id="y")]),
        asking("d5", excluded_variant_ids=["a"]),
        asking("d6"),
    )
    assert told(replies) == [f"d{n}" for n in range(1, 7)]
    ids = ["".join(entry.variant_id for entry in reply.distribution) for reply in replies]
    assert ids == ["abc", "bc", "abc", "xy", "bc", "abc"]


def test_an_answer_of_the_log_that_makes_no_sense_takes_only_its_own_place(room: Room) -> None:
    room.log.answer = lambda item: (
        RECORDED if isinstance(item, NewDecision) and item.decision.decision_id == "d2" else None
    )
    assert told(room.choose(asking("d1"), asking("d2"), asking("d3"))) == ["d1", "TypeError", "d3"]
    room.log.answer = lambda item: (
        None if isinstance(item, NewReward) and item.decision_id == "d2" else RECORDED
    )
    rewards = room.reward(rewarding("d1"), rewarding("d2"), rewarding("d3"))
    room.log.tell()
    assert told(rewards) == ["RECORDED", "TypeError", "RECORDED"]


def test_a_bug_of_the_log_is_not_taken_for_a_log_that_can_not_be_written(room: Room) -> None:
    room.log.failure = RuntimeError("a bug")
    assert told(room.choose(asking("d1"), UNDECODABLE)) == ["RuntimeError", "MALFORMED_MESSAGE"]
    assert told(room.reward(UNDECODABLE, rewarding())) == ["MALFORMED_MESSAGE", "RuntimeError"]
    assert not room.log.syncs


def test_calls_whose_commits_are_told_later_do_not_mix(room: Room) -> None:
    room.log.later = True
    choices = [Replies(pb.ChooseResponse) for _ in range(2)]
    room.service.choose([asking("d1"), UNDECODABLE, asking("d2", excluded_variant_ids=["a"])], choices[0])
    room.service.choose([asking("d3")], choices[1])
    rewards = room.reward(rewarding())
    assert [replies.deliveries for replies in (*choices, rewards)] == [0, 0, 0]
    first, second, third = room.log.appends
    second()
    assert (told(choices[1]), choices[0].deliveries) == (["d3"], 0)
    third()
    assert (rewards.deliveries, len(room.log.syncs)) == (0, 1)
    first()
    assert told(choices[0]) == ["d1", "MALFORMED_MESSAGE", "d2"]
    room.log.tell()
    assert told(rewards) == ["RECORDED"]


def test_a_repeated_choice_gets_the_stored_decision_and_another_request_with_its_id_a_conflict(
    room: Room,
) -> None:
    (first,) = room.choose(asking("d1", subject_id="anna"))
    ((item,),) = room.log.batches
    assert isinstance(item, NewDecision)
    made = item.decision
    digest = digest_of(room, asking("d1", subject_id="anna"))
    room.log.answer = lambda item: (
        StoredDecision(made, digest, 7, 7)
        if isinstance(item, NewDecision) and item.decision.decision_id == "d1"
        else None
    )
    replies = room.choose(
        asking("d0"), asking("d1", subject_id="anna"), asking("d1", subject_id="ben"), asking("d2")
    )
    assert told(replies) == ["d0", "d1", "DECISION_ID_CONFLICT", "d2"]
    assert replies[1] == first


def digest_of(room: Room, request: pb.ChooseRequest) -> bytes:
    return room.service._digest(request)


def test_a_reward_is_delivered_only_once_its_sync_is_told(room: Room) -> None:
    rewards = room.reward(rewarding("d1"), rewarding("d2"))
    assert [len(batch) for batch in room.log.batches] == [2]
    assert (rewards.deliveries, len(room.log.syncs)) == (0, 1)
    later = room.reward(rewarding("d3"))
    first, second = room.log.syncs
    first(None)
    assert (told(rewards), rewards.deliveries, later.deliveries) == (["RECORDED"] * 2, 1, 0)
    second(None)
    assert told(later) == ["RECORDED"]


@pytest.mark.parametrize("status", RewardStatus)
def test_a_reward_of_whatever_status_waits_for_its_sync(room: Room, status: RewardStatus) -> None:
    room.log.answer = lambda item: RewardOutcome(status, "mail", "visit")
    rewards = room.reward(rewarding())
    assert rewards.deliveries == 0
    room.log.tell()
    assert told(rewards) == [status.name]


def test_a_failed_sync_is_told_to_every_reward_that_waited_and_to_no_refused_one(room: Room) -> None:
    refused = Refused(Reason.REWARD_ID_CONFLICT, "another value")
    room.log.answer = lambda item: (
        refused if isinstance(item, NewReward) and item.decision_id == "d2" else RECORDED
    )
    rewards = room.reward(rewarding("d1"), rewarding("d2"), UNDECODABLE, rewarding("d3"))
    room.log.tell(NO_SPACE)
    assert told(rewards) == ["LOG_UNWRITABLE", "REWARD_ID_CONFLICT", "MALFORMED_MESSAGE", "LOG_UNWRITABLE"]
    again = room.reward(rewarding("d1"))
    room.log.tell()
    assert told(again) == ["RECORDED"]


def test_refused_rewards_are_delivered_without_a_sync(room: Room) -> None:
    room.log.answer = lambda item: Refused(Reason.UNKNOWN_METRIC, "no such metric")
    rewards = room.reward(rewarding(metric="no"), UNDECODABLE, rewarding(""))
    assert told(rewards) == ["UNKNOWN_METRIC", "MALFORMED_MESSAGE", "MISSING_ID"]
    assert not room.log.syncs


def test_a_reward_that_can_not_be_stored_is_never_acknowledged(room: Room) -> None:
    room.log.failure = NO_SPACE
    rewards = room.reward(rewarding("d1"), UNDECODABLE, rewarding("d2"))
    assert told(rewards) == ["LOG_UNWRITABLE", "MALFORMED_MESSAGE", "LOG_UNWRITABLE"]
    assert not room.log.syncs


def test_a_call_that_is_asked_again_since_its_policy_was_away_is_counted_once(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(Metrics, "clamped", lambda self, experiment_id, values: counted.append(values))
    views = Views()
    ranged = experiment("mail", signals={"recency": {"type": "number", "range": [1, 12]}})
    views.take([Definition(ranged, 1, b"salt", 1)])

    class Away:
        """Has no policy the first time."""

        asked = 0

        def policy(self, view: View) -> Policy:
            self.asked += 1
            if self.asked == 1:
                raise NotLoaded(view, lambda view: asyncio.sleep(0))
            return room.models.policy(view)

    room.service = Service(
        views=views, models=Away(), log=room.log, key=b"key", metrics=Metrics(lambda _: frozenset())
    )
    request = asking("d1", context={"recency": pb.FeatureValue(number=99)})
    assert told(room.choose(request)) == ["NotLoaded"]
    assert counted == []
    assert told(room.choose(request)) == ["d1"]
    assert counted == [1]
