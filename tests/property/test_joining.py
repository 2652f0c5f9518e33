"""However decisions and rewards interleave and are read, the log joins them as the definition says."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.core.errors import Refused
from bandit.core.experiment import Experiment
from bandit.core.joining import Joiner, closes_on_reward, closing_us, join
from bandit.core.records import (
    ORIGIN,
    Arm,
    Decision,
    JoinedEvent,
    Reward,
    RewardStatus,
    Source,
    Stage,
)
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import NewDecision, NewExperiment, NewReward, Tick
from bandit.eventlog.sqlite import SqliteEventLog

EXPERIMENTS = ("first", "second")
# Windows of a few milliseconds and steps of the clock around them, so that every order comes up.
RULES = (
    {"window": "1ms"},
    {"window": "2ms", "default": "none"},
    {"window": "2ms", "default": 0.5, "aggregate": "sum"},
    {"window": "3ms", "learn": "on_reward"},
    {"window": "1ms", "learn": "on_reward", "default": "none"},
)


@dataclass(frozen=True)
class Decide:
    experiment: int


@dataclass(frozen=True)
class Send:
    decision: int
    metric: str
    reward_id: str
    value: float


@dataclass(frozen=True)
class Define:
    experiment: int
    rule: int


@dataclass(frozen=True)
class Commit:
    """Writes what came since the last commit in one batch, after the clock went `later_us`, or back."""

    later_us: int
    ticks: int


@dataclass(frozen=True)
class Read:
    experiment: int
    limit: int


INDEX = st.integers(0, 1)
LATER_US = st.sampled_from([0, 1, 500, 999, 1000, 1001, 2000, 3001, -700])
STEPS = st.lists(
    st.one_of(
        st.builds(Decide, INDEX),
        st.builds(
            Send,
            st.integers(0, 4),
            st.sampled_from(["", "visit", "complaint"]),
            st.sampled_from(["", "", "r"]),
            st.sampled_from([0.0, 1.0]),
        ),
        st.builds(Commit, LATER_US, st.integers(0, 1)),
        st.builds(Read, INDEX, st.integers(1, 3)),
        st.builds(Define, INDEX, st.integers(0, len(RULES) - 1)),
    ),
    max_size=60,
)


def define(experiment_id: str, rule: int) -> Experiment:
    return Experiment.model_validate(
        {
            "id": experiment_id,
            "owner": "growth@shop.example",
            "variants": [{"id": "a"}, {"id": "b"}],
            "baseline": "a",
            "reward": {"metric": "visit", **RULES[rule]},
            "metrics": {"complaint": {"range": [0, 1], "aggregate": "sum"}},
        }
    )


@dataclass
class Made:
    """A decision as the model of the log knows it."""

    experiment: Experiment
    decision: Decision
    seq: int
    at_us: int
    rewards: list[Reward] = field(default_factory=list)
    keys: dict[str, tuple[str, float]] = field(default_factory=dict)

    def status(self, metric: str, reward_id: str, value: float, at_us: int) -> RewardStatus | None:
        """What becomes of a reward by the fine print; None for a conflict. Keeps what is stored."""
        key = f"id:{reward_id}" if reward_id else f"metric:{metric}"
        if key in self.keys:
            return RewardStatus.DUPLICATE if self.keys[key] == (metric, value) else None
        self.keys[key] = metric, value
        window_us = self.experiment.reward.window_us
        closed = closing_us(self.experiment, self.at_us, self.rewards) < self.at_us + window_us
        late = at_us >= self.at_us + window_us or (closed and closes_on_reward(self.experiment, metric))
        return RewardStatus.LATE if late else RewardStatus.RECORDED


class World:
    """A real log, and beside it a model that knows nothing of SQL."""

    def __init__(self, folder: Path) -> None:
        self.clock_us = 1_000_000
        self.log = SqliteEventLog(folder, clock_us=lambda: self.clock_us)
        self.seq = 0
        self.at_us = 0
        self.versions: dict[str, int] = {}
        self.experiments: dict[str, Experiment] = {}
        self.made: list[Made] = []
        self.pending: list[Decide | Send] = []
        self.joiners = {experiment_id: Joiner() for experiment_id in EXPERIMENTS}
        self.joined: dict[str, list[JoinedEvent]] = {experiment_id: [] for experiment_id in EXPERIMENTS}
        self.read: dict[str, list[JoinedEvent]] = {experiment_id: [] for experiment_id in EXPERIMENTS}
        for experiment_id in EXPERIMENTS:
            self.define(experiment_id, 0)

    def define(self, experiment_id: str, rule: int) -> None:
        self.commit(0, 0)
        experiment = define(experiment_id, rule)
        (definition,) = self.log.append([NewExperiment(experiment, b"")])
        if self.experiments.get(experiment_id) != experiment:
            self.stamp()
            self.seq += 1
            self.versions[experiment_id] = self.versions.get(experiment_id, 0) + 1
            self.experiments[experiment_id] = experiment
        assert (definition.version, definition.experiment) == (self.versions[experiment_id], experiment)

    def stamp(self) -> None:
        self.at_us = max(self.at_us, self.clock_us)

    def commit(self, later_us: int, ticks: int) -> None:
        self.clock_us += later_us
        batch: list[NewDecision | NewReward | Tick] = []
        expected = []
        seq, before_us = self.seq, self.at_us
        self.stamp()
        for step in self.pending:
            if isinstance(step, Decide):
                batch.append(self.decide(EXPERIMENTS[step.experiment]))
                expected.append(None)
            else:
                decision_id = f"d{step.decision}"
                batch.append(NewReward(decision_id, step.metric, step.value, step.reward_id, None))
                expected.append(self.reward(step))
        batch += [Tick()] * ticks
        self.seq += ticks
        if self.seq == seq:
            self.at_us = before_us
        self.pending = []
        results = self.log.append(batch)[: len(expected)]
        told = [None if r is None or isinstance(r, Refused) else r.status for r in results]
        assert told == expected
        assert self.log.head() == (self.seq, self.at_us)

    def decide(self, experiment_id: str) -> NewDecision:
        experiment = self.experiments[experiment_id]
        decision = Decision(
            experiment_id=experiment_id,
            version=self.versions[experiment_id],
            decision_id=f"d{len(self.made)}",
            subject="",
            context={"n": float(len(self.made))},
            variants=experiment.catalogue(),
            call_variants=False,
            distribution=[0.25, 0.75],
            policy_distribution=[0.25, 0.75],
            chosen=1,
            arm=Arm.TREATMENT,
            source=Source.UNTRAINED,
            stage=Stage.FULL,
            treatment_share=1.0,
            snapshot_id="",
        )
        self.seq += 1
        self.made.append(Made(experiment, decision, self.seq, self.at_us))
        self.joiners[experiment_id].decision(experiment, decision, self.seq, self.at_us)
        return NewDecision(decision, encode_decision(decision, b""), experiment.reward.window_us)

    def reward(self, step: Send) -> RewardStatus | None:
        if step.decision >= len(self.made):
            self.seq += 1
            return RewardStatus.UNKNOWN_DECISION
        made = self.made[step.decision]
        metric = step.metric or "visit"
        status = made.status(metric, step.reward_id, step.value, self.at_us)
        if status in (RewardStatus.RECORDED, RewardStatus.LATE):
            self.seq += 1
            reward = Reward(self.seq, self.at_us, metric, step.value)
            made.rewards.append(reward)
            self.joiners[made.decision.experiment_id].reward(made.decision.decision_id, reward)
        return status

    def take(self, experiment_id: str, limit: int) -> bool:
        """Reads one batch from the log, and all there is from the joiner in memory."""
        _, now_us = self.log.head()
        read = self.read[experiment_id]
        after = read[-1].position if read else ORIGIN
        batch = read_joined(self.log, experiment_id, after, now_us, limit)
        assert len(batch) <= limit
        read += batch
        self.joined[experiment_id] += self.joiners[experiment_id].closed(now_us)
        after = read[-1].position if read else ORIGIN
        unread = [e.position.closing_us for e in self.definition(experiment_id) if e.position > after]
        assert next_due_us(self.log, experiment_id, after) == min(unread, default=None)
        return bool(batch)

    def definition(self, experiment_id: str) -> list[JoinedEvent]:
        """The joined order by definition: each decision joined with all its rewards, sorted by position."""
        return sorted(
            (
                join(made.experiment, made.decision, made.seq, made.at_us, made.rewards)
                for made in self.made
                if made.decision.experiment_id == experiment_id
            ),
            key=lambda event: event.position,
        )


@settings(max_examples=200)
@given(steps=STEPS)
def test_any_interleaving_read_in_any_batches_gives_the_same_events_in_the_same_order(steps):
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in steps:
            match step:
                case Decide() | Send():
                    world.pending.append(step)
                case Commit():
                    world.commit(step.later_us, step.ticks)
                case Define():
                    world.define(EXPERIMENTS[step.experiment], step.rule)
                case Read():
                    world.take(EXPERIMENTS[step.experiment], step.limit)
        world.commit(10_000, 1)
        world.commit(10_000, 1)
        for experiment_id in EXPERIMENTS:
            while world.take(experiment_id, 2):
                pass
            expected = world.definition(experiment_id)
            assert world.read[experiment_id] == expected
            assert world.joined[experiment_id] == expected
            at_once = read_joined(world.log, experiment_id, ORIGIN, world.log.head()[1], 1000)
            assert at_once == expected
        assert world.log.check_chain() is None
        world.log.close()
