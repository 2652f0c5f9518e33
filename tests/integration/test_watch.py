"""What operators see of a real server: metrics, health, logs, and a changed or broken experiments file."""

import contextlib
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from bandit.serving.status import DETAILS_KEY
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub
from waiting import until

TIMEOUT_S = 20.0
COMPONENTS = {"log", "experiments", "learner", "processes"}
SERVICES = ("", "bandit.v1.BanditService")

EXPERIMENT = """
  - id: {id}
    owner: growth@shop.example
    variants: [{{id: a, payload: {{template: plain}}}}, {{id: b}}, {{id: c}}]
    baseline: a
    signals:
      recency: {{type: number, range: [1, 12]}}
      channel: {{type: category}}
      tags: {{type: categories}}
      zip_code: {{type: category, consent: marketing}}
    reward: {{metric: click, default: none, learn: on_reward}}
    rollout: {rollout}
"""


def file_of(**rollouts: str) -> str:
    return "experiments:" + "".join(EXPERIMENT.format(id=id, rollout=text) for id, text in rollouts.items())


EXPERIMENTS = file_of(mail="{stage: full}", calm="{stage: paused}") + EXPERIMENT.format(
    id="own", rollout="{stage: full}"
).replace("baseline: a", "").replace("[{id: a, payload: {template: plain}}, {id: b}, {id: c}]", "[]")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(families: Iterable[Metric]) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def calls_in(samples: Samples) -> float:
    return sum(value for (name, _), value in samples.items() if name == "banditd_calls_total")


class Answered(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # has no type here
    """Counts the calls that a server took, whether it replied or refused."""

    def __init__(self) -> None:
        self.calls = 0

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        ended = continuation(details, request)
        refused = any(key == DETAILS_KEY for key, _ in ended.trailing_metadata() or ())
        self.calls += refused or ended.code() is grpc.StatusCode.OK
        return ended


@dataclass(frozen=True)
class Watched:
    """A server, its metrics page and its folder."""

    address: str
    page: str
    folder: Path
    answered: Answered = field(default_factory=Answered)

    def stub(self) -> BanditServiceStub:
        # A connection of its own: the kernel spreads connections over the workers.
        channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        return BanditServiceStub(grpc.intercept_channel(channel, self.answered))

    def choose(self, experiment_id: str = "mail", **rest: Any) -> pb.ChooseResponse:
        request = pb.ChooseRequest(experiment_id=experiment_id, **rest)
        return self.stub().Choose(request, timeout=TIMEOUT_S)

    def samples(self) -> Samples:
        """What the page shows once it shows every call that was answered, and so all that they counted."""

        def shown() -> Samples | None:
            with urllib.request.urlopen(f"{self.page}/metrics", timeout=TIMEOUT_S) as reply:  # noqa: S310
                samples = samples_of(text_string_to_metric_families(reply.read().decode()))
            return samples if calls_in(samples) >= self.answered.calls else None

        return until(shown, "a page with every call")

    def sample(self, name: str, **labels: str) -> float:
        return self.samples().get((name, frozenset(labels.items())), 0.0)

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.page}/health", timeout=TIMEOUT_S) as reply:  # noqa: S310
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def component(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self.health()[1]["components"][name]
        return state

    def serves(self, name: str) -> bool:
        """gRPC health of a component or service."""
        with grpc.insecure_channel(self.address) as channel:
            request = health_pb2.HealthCheckRequest(service=name)
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def start(servers: Any, *flags: str) -> Watched:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = servers.start(
        "127.0.0.1:0", "--metrics-listen", f"127.0.0.1:{port}", *flags, experiments_text=EXPERIMENTS
    )
    watched = Watched(address, f"http://127.0.0.1:{port}", servers.folder())

    def up() -> bool:
        try:
            return watched.health()[0] == 200
        except OSError:
            return False

    until(up)
    return watched


@pytest.fixture(scope="module")
def watched(module_servers: Any, module_transport: str) -> Iterator[Watched]:
    yield start(module_servers, "--workers", "2", "--transport", module_transport)
    module_servers.stop()


@pytest.fixture
def own(servers: Any) -> Watched:
    return start(servers)


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(grpc.RpcError):
        call()


# Metrics


def test_calls_are_counted_by_method_and_code_over_all_workers(watched: Watched) -> None:
    def counts() -> list[float]:
        return [
            watched.sample("banditd_calls_total", method="Choose", code="OK"),
            watched.sample("banditd_call_seconds_count", method="Choose"),
            watched.sample("banditd_calls_total", method="Choose", code="NOT_FOUND"),
            watched.sample("banditd_refusals_total", method="Choose", reason="UNKNOWN_EXPERIMENT"),
            watched.sample("banditd_refusals_total", method="RewardBatch", reason="MISSING_ID"),
        ]

    before = counts()
    for _ in range(20):
        watched.choose()
    for _ in range(3):
        refused(lambda: watched.choose("nobody"))
    watched.stub().RewardBatch(pb.RewardBatchRequest(requests=[pb.RewardRequest()] * 4), timeout=TIMEOUT_S)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [20, 23, 3, 3, 4]


def test_decisions_are_counted_by_variant_source_and_arm(watched: Watched) -> None:
    labels = {"experiment": "calm", "variant": "a", "source": "BASELINE", "arm": "CONTROL"}
    before = watched.sample("banditd_decisions_total", **labels)
    repeats = watched.sample("banditd_decisions_repeated_total", experiment="calm")
    broken = watched.sample("banditd_broken_distributions_total", experiment="calm")
    for number in range(10):
        watched.choose("calm", decision_id=f"counted-{number}")
    for _ in range(3):
        watched.choose("calm", decision_id="counted-0")
    assert watched.sample("banditd_decisions_total", **labels) == before + 10
    assert watched.sample("banditd_decisions_repeated_total", experiment="calm") == repeats + 3
    assert watched.sample("banditd_broken_distributions_total", experiment="calm") == broken


def test_rewards_are_counted_by_what_became_of_them(watched: Watched) -> None:
    def counts() -> list[float]:
        statuses = [("calm", "RECORDED"), ("calm", "DUPLICATE"), ("calm", "LATE"), ("", "UNKNOWN_DECISION")]
        return [
            watched.sample("banditd_rewards_total", experiment=experiment, status=status)
            for experiment, status in statuses
        ]

    before = counts()
    name = watched.choose("calm").decision_id
    rewards = [
        pb.RewardRequest(decision_id=name, value=1),
        pb.RewardRequest(decision_id=name, value=1),
        pb.RewardRequest(decision_id=name, value=1, reward_id="later"),
        pb.RewardRequest(decision_id="nobody", value=1),
        pb.RewardRequest(decision_id="nobody", value=1),
    ]
    watched.stub().RewardBatch(pb.RewardBatchRequest(requests=rewards), timeout=TIMEOUT_S)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 1, 2]


def test_clamped_signals_are_counted(watched: Watched) -> None:
    before = watched.sample("banditd_signals_clamped_total", experiment="mail")
    outside = {"recency": pb.FeatureValue(number=99)}
    name = watched.choose(context=outside).decision_id
    assert watched.sample("banditd_signals_clamped_total", experiment="mail") == before + 1
    # A repeat adds nothing to the log, and so nothing here.
    request = pb.ChooseRequest(experiment_id="mail", decision_id=f"again-{name}", context=outside)
    for _ in range(3):
        watched.stub().Choose(request, timeout=TIMEOUT_S)
    assert watched.sample("banditd_signals_clamped_total", experiment="mail") == before + 2


def test_commits_and_syncs_are_timed(watched: Watched) -> None:
    def counts() -> list[float]:
        names = ("banditd_commit_seconds_count", "banditd_commit_rows_sum", "banditd_sync_seconds_count")
        return [watched.sample(name) for name in names]

    before = counts()
    name = watched.choose().decision_id
    watched.stub().Reward(pb.RewardRequest(decision_id=name, value=1), timeout=TIMEOUT_S)
    until(lambda: all(now > then for now, then in zip(counts(), before, strict=True)))
    assert watched.sample("banditd_log_up") == 1


def learn(watched: Watched) -> None:
    """Rewards decisions until what is served was learned."""

    def learned() -> bool:
        response = watched.choose("mail")
        watched.stub().Reward(pb.RewardRequest(decision_id=response.decision_id, value=1), timeout=TIMEOUT_S)
        return response.source == pb.DECISION_SOURCE_LEARNED

    until(learned)


def test_what_was_learned_and_how_old_it_is_can_be_seen(watched: Watched) -> None:
    learn(watched)
    age = ("banditd_snapshot_age_seconds", frozenset({("experiment", "mail")}))
    samples = until(lambda: seen if age in (seen := watched.samples()) else None)
    assert samples[age] >= 0
    assert samples["banditd_learner_lag_seconds", frozenset()] >= 0
    assert samples["banditd_joined_events_total", frozenset({("experiment", "mail")})] >= 1
    assert samples["banditd_snapshots_published_total", frozenset({("experiment", "mail")})] >= 1


def test_a_worker_that_starts_has_its_policies_before_anyone_calls(watched: Watched) -> None:
    learn(watched)
    # How old a snapshot is, is told of those that are in memory.
    age = ("banditd_snapshot_age_seconds", frozenset({("experiment", "mail")}))
    until(lambda: age in watched.samples())
    processes = watched.component("processes")
    for name in ("worker-0", "worker-1"):
        os.kill(processes[name], signal.SIGKILL)
    # What the dead told is gone with them.
    until(lambda: age not in watched.samples())
    until(lambda: age in watched.samples())


def test_texts_of_calls_never_become_labels(watched: Watched) -> None:
    marker = "label-marker"
    labels = {"experiment": "own", "variant": "(from the call)", "source": "UNTRAINED", "arm": "TREATMENT"}
    before = watched.sample("banditd_decisions_total", **labels)
    for number in range(5):
        watched.choose("own", variants=[pb.Variant(id=f"{marker}-{number}")])
    refused(lambda: watched.choose(marker))
    refused(lambda: watched.choose(context={marker: pb.FeatureValue(number=1)}))
    name = watched.choose().decision_id
    reward = pb.RewardRequest(decision_id=name, value=1, metric=marker)
    refused(lambda: watched.stub().Reward(reward, timeout=TIMEOUT_S))
    refused(
        lambda: grpc.insecure_channel(watched.address).unary_unary(f"/{marker}/{marker}", None, None)(b"")
    )
    assert watched.sample("banditd_decisions_total", **labels) == before + 5
    assert marker not in repr(watched.samples())


def test_counters_survive_a_killed_worker(watched: Watched) -> None:
    def total() -> float:
        name = "banditd_calls_total"
        return sum(
            v for (n, labels), v in watched.samples().items() if n == name and ("code", "OK") in labels
        )

    def workers() -> list[int]:
        processes = watched.component("processes")
        return [processes["worker-0"], processes["worker-1"]]

    for _ in range(20):
        watched.choose()
    before, pids = total(), workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(workers()) and not set(workers()) & set(pids))
    assert total() == before

    def chosen() -> bool:
        try:
            return bool(watched.choose().decision_id)
        except grpc.RpcError:
            return False

    until(chosen)
    assert total() == before + 1
    until(lambda: watched.health()[0] == 200)


def test_calls_are_counted_up_to_the_last_one_before_a_stop(servers: Any) -> None:
    watched = start(servers)
    stub = watched.stub()
    worker = watched.component("processes")["worker-0"]
    os.kill(worker, signal.SIGTERM)
    while Path(f"/proc/{worker}").exists():
        with contextlib.suppress(grpc.RpcError):
            stub.Choose(pb.ChooseRequest(experiment_id="mail"), timeout=TIMEOUT_S)
    # What a worker counted stays when it has ended, up to its last answer.
    assert watched.samples()


# Health


def test_health_tells_every_component(watched: Watched) -> None:
    status, body = until(lambda: seen if (seen := watched.health())[0] == 200 else None)
    assert (status, body["ok"]) == (200, True)
    assert set(body["components"]) == COMPONENTS
    assert all(component["ok"] for component in body["components"].values())
    assert body["components"]["processes"]["address"] == watched.address
    until(lambda: all(watched.serves(name) for name in (*SERVICES, *COMPONENTS)))


def test_a_component_that_does_not_exist_is_not_found(watched: Watched) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        watched.serves("nobody")
    error: Any = raised.value
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_the_page_knows_only_its_two_addresses(watched: Watched) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{watched.page}/events.db", timeout=TIMEOUT_S)  # noqa: S310
    assert raised.value.code == 404


def no_file_can_be_made(watched: Watched) -> Path:
    """As on a disk without space or inodes, for the superuser too."""
    aside = watched.folder / "data" / ".status.json"
    aside.mkdir()
    return aside


def test_health_is_told_where_no_file_can_be_made(own: Watched) -> None:
    no_file_can_be_made(own)
    (own.folder / "experiments.yaml").write_text("experiments: [")
    until(lambda: own.health()[0] == 503)
    until(lambda: not own.serves("experiments"))
    (own.folder / "experiments.yaml").write_text(EXPERIMENTS)
    until(lambda: own.health()[0] == 200)
    until(lambda: own.serves("experiments"))


def test_a_health_that_can_not_be_written_is_logged_once_as_it_begins_and_once_as_it_ends(
    own: Watched,
) -> None:
    aside, status = no_file_can_be_made(own), own.folder / "data" / "status.json"

    def told(text: str) -> int:
        return (own.folder / "log").read_text().count(f'"{text}"')

    status.unlink()
    status.mkdir()
    file = own.folder / "experiments.yaml"
    file.write_text("experiments: [")
    until(lambda: told("status not written"))
    # Each file is looked at in a look of its own.
    for text in ("experiments: {", "experiments: 1", "["):
        refused = told("experiments file refused; the old one stays")
        file.write_text(text)
        until(lambda before=refused: told("experiments file refused; the old one stays") > before)
    aside.rmdir()
    status.rmdir()
    until(lambda: told("status written again"))
    assert told("status not written") == 1
    assert own.health()[0] == 503


def test_a_page_that_fails_says_so_in_the_log(own: Watched) -> None:
    (own.folder / "data" / "status.json").write_text('{"log": 1}')
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{own.page}/health", timeout=TIMEOUT_S)  # noqa: S310
    assert raised.value.code == 500
    lines = [json.loads(line) for line in (own.folder / "log").read_text().splitlines()]
    assert any(line["process"] == "page" and line["event"] == "page failed" for line in lines)


def test_the_page_keeps_its_port_while_its_process_is_restarted(own: Watched) -> None:
    pid = own.component("processes")["page"]
    os.kill(pid, signal.SIGKILL)
    # Who asks meanwhile waits for the next process.
    until(lambda: own.component("processes")["page"] not in (0, pid))


# The experiments file


@pytest.mark.parametrize("broken", ["experiments: [", "baseline", "gone"])
def test_a_broken_file_is_told_and_changes_nothing_until_it_is_mended(own: Watched, broken: str) -> None:
    file = own.folder / "experiments.yaml"
    if broken == "gone":
        file.unlink()
    else:
        text = EXPERIMENTS.replace("stage: full", "stage: paused").replace("baseline: a", "baseline: z", 1)
        file.write_text(broken if broken != "baseline" else text)
    until(lambda: not own.serves("experiments"))
    assert all(own.serves(name) for name in (*SERVICES, *(COMPONENTS - {"experiments"})))
    status, body = own.health()
    assert (status, body["ok"]) == (503, False)
    problem = body["components"]["experiments"]["detail"]
    assert str(file) in problem
    if broken == "baseline":
        assert f"{file}:5: experiments[0].baseline: is 'z'" in problem
        assert f"{file}:5:" in (own.folder / "log").read_text()
    assert own.choose().source == pb.DECISION_SOURCE_UNTRAINED
    file.write_text(EXPERIMENTS)
    until(lambda: own.serves("experiments"))
    assert own.health()[0] == 200
    # Once as the server started, once as it was mended, though that changes nothing.
    lines = [json.loads(line) for line in (own.folder / "log").read_text().splitlines()]
    told = [line for line in lines if line["event"] == "experiments file in order"]
    assert [(line["file"], line["changed"]) for line in told] == [(str(file), 3), (str(file), 0)]


def test_a_changed_file_comes_into_force_and_a_removed_experiment_serves_the_baseline(own: Watched) -> None:
    file = own.folder / "experiments.yaml"
    assert own.choose("mail").source == pb.DECISION_SOURCE_UNTRAINED
    assert own.choose("calm").source == pb.DECISION_SOURCE_BASELINE

    # Replaced by another file in one step, as deployments do.
    aside = own.folder / "aside"
    aside.write_text(file_of(mail="{stage: paused}", calm="{stage: full}", late="{stage: full}"))
    aside.replace(file)
    until(lambda: own.choose("mail").source == pb.DECISION_SOURCE_BASELINE)
    until(lambda: own.choose("calm").source == pb.DECISION_SOURCE_UNTRAINED)
    assert own.choose("late").arm == pb.ARM_TREATMENT
    late = own.choose("late").decision_id

    file.write_text(file_of(mail="{stage: full}"))
    until(lambda: own.choose("mail").source == pb.DECISION_SOURCE_UNTRAINED)
    response = own.choose("late")
    assert (response.variant_id, response.propensity) == ("a", 1)
    assert (response.source, response.arm) == (pb.DECISION_SOURCE_BASELINE, pb.ARM_CONTROL)
    status = own.stub().Reward(pb.RewardRequest(decision_id=late, value=1), timeout=TIMEOUT_S).status
    assert status == pb.REWARD_STATUS_RECORDED


# What is kept about people


def test_subjects_are_stored_nowhere_and_contexts_in_the_event_log_alone(servers: Any) -> None:
    subject, context, dropped = "marker-of-a-subject", "marker-of-a-context", "marker-of-a-dropped-value"
    watched = start(servers, "--log-level", "debug")
    values = {
        "channel": pb.FeatureValue(text=context),
        "tags": pb.FeatureValue(texts=pb.TextList(values=[context, f"{context}-2"])),
        "zip_code": pb.FeatureValue(text=dropped),
    }

    def learned() -> bool:
        response = watched.choose(subject_id=subject, context=values)
        reward = pb.RewardRequest(decision_id=response.decision_id, value=1)
        watched.stub().Reward(reward, timeout=TIMEOUT_S)
        return response.source == pb.DECISION_SOURCE_LEARNED

    until(learned)
    # What is refused, repeated or in conflict leaves no more behind.
    wrong = pb.FeatureValue(text=context)
    refused(lambda: watched.choose(subject_id=subject, context={"recency": wrong}))
    refused(lambda: watched.choose(subject_id=subject, context={"nobody": wrong}))
    refused(lambda: watched.choose(subject_id=subject * 20))
    refused(lambda: watched.choose(context={"channel": pb.FeatureValue(text=context * 100)}))
    watched.choose(decision_id="once", subject_id=subject, context=values)
    watched.choose(decision_id="once", subject_id=subject, context=values)
    refused(lambda: watched.choose(decision_id="once", subject_id=subject))
    servers.stop()

    def holding(marker: str) -> set[str]:
        files = (path for path in watched.folder.rglob("*") if path.is_file())
        return {path.name for path in files if marker.encode() in path.read_bytes()}

    assert holding(subject) == set()
    assert holding(dropped) == set()
    assert holding(context) <= {"events.db", "events.db-wal"}
    assert holding(context)
    assert any(path.suffix == ".vw" for path in watched.folder.rglob("*"))
    lines = [json.loads(line) for line in (watched.folder / "log").read_text().splitlines()]
    assert all({"event", "level", "timestamp", "process"} <= set(line) for line in lines)
    assert {"worker-0", "learner", "supervisor"} <= {line["process"] for line in lines}
    assert any(line["event"] == "call" and line.get("reason") == "WRONG_TYPE" for line in lines)
