"""The export: one complete event a line."""

import json

from bandit.eventlog.formats import jsonl
from bandit.eventlog.log import NewExperiment, NewReward, Tick


def test_every_event_is_one_line_with_its_columns_and_its_record(log, define, decide, clock):
    experiment = define()
    log.append(
        [
            NewExperiment(experiment, b"salt"),
            decide(experiment, "d1", context={"age": 0.0, "kind": "a\nb"}, digest=b"\xff", chosen=0),
            NewReward("d1", "", 0.0, "r", 1_500_000),
            NewReward("later", "", 1.0, "", 10**30),
            Tick(),
        ]
    )
    lines = list(jsonl.lines(log))
    assert not any("\n" in line for line in lines)
    events = [json.loads(line) for line in lines]
    assert [list(event) for event in events] == [
        ["seq", "kind", "experiment_id", "decision_id", "at_us", "record"]
    ] * 5
    assert [(event["seq"], event["kind"], event["decision_id"]) for event in events] == [
        (1, "experiment", ""),
        (2, "decision", "d1"),
        (3, "reward", "d1"),
        (4, "reward_unknown", "later"),
        (5, "tick", ""),
    ]
    assert {event["at_us"] for event in events} == {clock.now_us}
    definition, decision, reward, _, tick = [event["record"] for event in events]
    assert json.loads(definition["definition_json"]) == json.loads(experiment.canonical_json())
    assert decision["variant_ids"] == ["a", "b", "c"]
    assert decision["context"] == {"age": {"number": 0.0}, "kind": {"text": "a\nb"}}
    assert (decision["chosen"], decision["arm"], decision["stage"]) == (0, "ARM_TREATMENT", "STAGE_FULL")
    assert decision["request_digest"] == "/w=="
    assert reward == {
        "metric": "visit",
        "value": 0.0,
        "reward_id": "r",
        "status": "REWARD_STATUS_RECORDED",
        "observed_at": "1970-01-01T00:00:01.500Z",
    }
    assert tick == {}


def test_an_empty_log_has_no_lines(log):
    assert list(jsonl.lines(log)) == []
