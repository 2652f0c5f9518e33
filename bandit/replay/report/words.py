"""The words and figures of a report's page."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from bandit.replay.estimators import Estimate
from bandit.replay.report.findings import Findings, Judged
from bandit.replay.report.markup import Html, el

Said = Callable[[float], str]
"""A figure as text."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def reward_text(findings: Findings) -> str:
    """The reward and its declared range."""
    low, high = reward_range(findings)
    metric = findings.options.metric
    named = f"{metric} (a secondary metric)" if metric in findings.experiment.metrics else ""
    return f"{named or findings.experiment.reward.metric}, {low:g} to {high:g}"


def reward_range(findings: Findings) -> tuple[float, float]:
    """The declared range of what is judged."""
    metric = findings.experiment.metrics.get(findings.options.metric)
    return findings.experiment.reward.range if metric is None else metric.range


def reward_words(findings: Findings) -> Said:
    """Rewards with as many decimals as a ten-thousandth of their range needs."""
    low, high = reward_range(findings)
    decimals = min(max(4 - math.floor(math.log10(high - low) + 1e-9), 0), 12)
    return lambda value: f"{value + 0.0:,.{decimals}f}" if math.isfinite(value) else "–"


def policy_text(one: Judged) -> str:
    """A policy's name, and whether it learned along the log."""
    return f"{one.judgement.policy} (learning)" if one.learning else one.judgement.policy


def between(estimate: Estimate, said: Said) -> str:
    """An interval."""
    return f"{said(estimate.low)} to {said(estimate.high)}"


def with_interval(estimate: Estimate | None, said: Said) -> str:
    """An estimate with its interval; a dash for None."""
    return "–" if estimate is None else f"{said(estimate.value)} ({between(estimate, said)})"


def difference_text(estimate: Estimate, logged: Estimate, said: Said) -> str:
    """How far an estimate lies from the mean as served."""
    difference = estimate.value - logged.value
    return f"{'+' if difference >= 0 else '−'}{said(abs(difference))}"


def word(name: str) -> str:
    """A check's or an estimator's name for people."""
    names = {"ips": "IPS", "snips": "SNIPS", "dm": "DM", "dr": "DR", "switch_dr": "Switch-DR", "dros": "DRos"}
    return names.get(name) or name.replace("_", " ").replace("cressie read", "Cressie–Read")


def time_text(at_us: int | None, *, seconds: bool = False) -> str:
    """A UTC time; a dash for None."""
    if at_us is None:
        return "–"
    try:
        moment = _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:  # a log's time may be any number
        return f"{at_us:,} µs"
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def beside(chart: Html, more: Html) -> Html:
    """A chart with a table beside it where the page is wide enough, and below it where not."""
    return el("div", {"class": "pair"}, el("figure", None, chart) if chart else "", more)


def figure(name: str, said: str, chart: Html) -> Html:
    """A chart with its caption."""
    return el("figure", None, el("figcaption", None, el("b", None, name), said), chart)
