"""JoinedEvents -> dsjson lines.

The keys stand in the field's own order: tools find them by position, and want lines to begin with
`{"_label_cost":`. See `bandit.eventlog.formats.dsjson_extra` for what stands inside `c`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bandit.core.records import JoinedEvent, Variant
from bandit.eventlog.formats import dsjson_extra

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lines(events: Iterable[JoinedEvent]) -> Iterator[str]:
    """A line an event, without line ends. UNREWARDED events have `_skipLearn` and a cost of 0.

    Where the distribution is not known, `p` is left out; where not even the served variant's is,
    `_label_probability` is too.
    """
    variants: Sequence[Variant] | None = None
    multi = orjson.Fragment(b"[]")
    for event in events:
        if event.decision.variants is not variants or type(variants) is not tuple:
            variants = event.decision.variants
            multi = orjson.Fragment(orjson.dumps([dsjson_extra.written_variant(item) for item in variants]))
        yield orjson.dumps(_document(event, multi)).decode()


def _document(event: JoinedEvent, multi: orjson.Fragment) -> dict[str, Any]:
    decision = event.decision
    chosen, distribution = decision.chosen, decision.distribution
    propensity = distribution[chosen]
    whole = not any(math.isnan(probability) for probability in distribution)
    # The served one first, then by probability, as a ranking is.
    ranked = sorted(
        range(len(distribution)), key=lambda index: (index != chosen, -distribution[index], index)
    )
    cost = 0.0 if event.reward is None else 0.0 - event.reward
    observed = {"v": event.reward, "EventId": decision.decision_id, "ActionTaken": False}
    context, texts = dsjson_extra.written_features(decision.context)
    extra = dsjson_extra.written(event)
    if texts:
        extra["texts"] = texts
    document: dict[str, Any] = {"_label_cost": cost}
    if not math.isnan(propensity):
        document["_label_probability"] = propensity
    document["_label_Action"] = chosen + 1
    document["_labelIndex"] = chosen
    if event.reward is None:
        document["_skipLearn"] = True
    document["o"] = [observed] if event.outcome.name == "REWARDED" else []
    document["Timestamp"] = timestamp(event.at_us)
    document["Version"] = "1"
    document["EventId"] = decision.decision_id
    if whole:
        document["a"] = [index + 1 for index in ranked]
    document["c"] = {dsjson_extra.CONTEXT: context, dsjson_extra.MARK: extra, "_multi": multi}
    if whole:
        document["p"] = [distribution[index] for index in ranked]
    document["VWState"] = {"m": decision.snapshot_id}
    if decision.pdrop:
        document["pdrop"] = decision.pdrop
    document["_original_label_cost"] = cost
    return document


def timestamp(at_us: int) -> str:
    """Microseconds since the epoch as the field writes times: UTC, with seven digits of a second."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}0Z"
