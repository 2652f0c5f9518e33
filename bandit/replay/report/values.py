"""The sections of a report about what policies would have earned: in all, by segment, over time."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

from bandit.replay.report import plots
from bandit.replay.report.findings import Findings, Judged
from bandit.replay.report.markup import Html, el, join, table
from bandit.replay.report.plots import Interval
from bandit.replay.report.words import (
    Said,
    beside,
    between,
    difference_text,
    figure,
    policy_text,
    reward_words,
    time_text,
    with_interval,
    word,
)

REASONS_SHOWN: Final = 6
SECONDS_SHOWN_BELOW_US: Final = 3_600_000_000
"""Times of a span shorter than this are told to the second."""


def values(findings: Findings) -> Html:
    """Headlines beside what was served, and every estimator below."""
    rows = [
        Interval(one.judgement.policy, headline.value, headline.low, headline.high)
        for one in findings.judged
        if (headline := one.judgement.headline) is not None
    ]
    estimator = findings.options.estimator
    said = reward_words(findings)
    chart = plots.forest(
        "values",
        "Value of each policy: mean reward a decision, with its interval",
        rows,
        reference=findings.logged.value,
        reference_label="as logged",
        said=said,
    )
    cells = []
    for one in findings.judged:
        headline = one.judgement.headline
        cells.append(
            (
                policy_text(one),
                "none" if headline is None else said(headline.value),
                "" if headline is None else between(headline, said),
                "" if headline is None else difference_text(headline, one.logged, said),
                f"{one.weights.effective:,.0f}" if one.weights.rows else "–",
                f"{one.weights.rows:,}",
            )
        )
    cells.append(
        (
            "as logged",
            said(findings.logged.value),
            between(findings.logged, said),
            "",
            f"{findings.logged.n:,}",
            f"{findings.logged.n:,}",
        )
    )
    return el(
        "section",
        None,
        el("h2", None, "Value of each policy"),
        el(
            "p",
            {"class": "lead"},
            f"Mean reward a decision, had the policy chosen, estimated by {word(estimator)}. The dashed "
            "line is the mean of the same decisions as they were served. Two policies whose intervals "
            "overlap may still differ; two that don't, do, if few were compared.",
        ),
        beside(
            chart if rows else Html(""),
            table(
                "The headlines, and the data behind each",
                ("policy", "value", "interval", "vs logged", "effective", "rows"),
                cells,
                right=("value", "interval", "vs logged", "effective", "rows"),
            ),
        ),
        _estimators(findings.judged, said),
    )


def _estimators(judged: Sequence[Judged], said: Said) -> Html:
    names = list(dict.fromkeys(chain.from_iterable(one.judgement.estimates for one in judged)))
    if not names:
        return Html("")
    rows = [
        (
            one.judgement.policy,
            *(with_interval(one.judgement.estimates.get(name), said) for name in names),
        )
        for one in judged
    ]
    words = [word(name) for name in names]
    return join(
        el("h3", None, "The same by every estimator"),
        el(
            "p",
            {"class": "lead"},
            "Estimates stand here even where the checks forbid to headline them. The anytime interval is "
            "valid at every look; the others at one look that was fixed beforehand.",
        ),
        table("Value and interval by estimator", ("policy", *words), rows, right=words),
    )


def by_segment(findings: Findings) -> Html:
    """The headlines by value of a signal; nothing if none was asked for."""
    signal = findings.options.segment
    if not signal or not findings.segments:
        return Html("")
    said = reward_words(findings)
    names = [one.judgement.policy for one in findings.judged]
    rows: list[tuple[str, ...]] = []
    why: Counter[str] = Counter()
    for value, judgements in findings.segments.items():
        logged = findings.segment_logged[value]
        # A policy that was judged on other rows may not have met this value.
        cells = dict.fromkeys(names, "–")
        for judgement in judgements:
            headline = judgement.headline
            cells[judgement.policy] = "none" if headline is None else with_interval(headline, said)
            if headline is None:
                failed = [word(check.name) for check in judgement.diagnostics.failed]
                why.update(failed or [judgement.reason])
        rows.append((value, f"{logged.n:,}", with_interval(logged, said), *cells.values()))
    told = ", ".join(f"{reason} (in {count:,})" for reason, count in why.most_common(REASONS_SHOWN))
    return el(
        "section",
        None,
        el("h2", None, f"Value by {signal}"),
        el(
            "p",
            {"class": "lead"},
            "Each cell is judged on its own decisions. The more cells are looked at, the surer it is that "
            "one of them stands out by chance.",
        ),
        table(
            f"Headlines by {signal}",
            (signal, "rows", "as logged", *names),
            rows,
            right=("rows", "as logged", *names),
        ),
        el("p", None, f"Where there is none, the check failed: {told}.") if told else "",
    )


def over_time(findings: Findings) -> Html:
    """The running estimates."""
    shown = [one for one in findings.judged if len(one.running.rows) > 1]
    if not shown:
        return Html("")
    followed = findings.options.estimator if findings.options.estimator in ("ips", "dr") else "snips"
    # The first looks are wide: what they would add to the axis is not worth the room that all others lose.
    settled = [e for one in shown for e in one.running.estimates[len(one.running.estimates) // 4 :]]
    bounds = (
        min([findings.logged.value, *(e.low for e in settled)]),
        max([findings.logged.value, *(e.high for e in settled)]),
    )
    figures = []
    for index, one in enumerate(shown):
        estimates = one.running.estimates
        first, last = one.running.at_us[0], one.running.at_us[-1]
        seconds = last - first < SECONDS_SHOWN_BELOW_US
        chart = plots.running(
            f"running-{index}",
            f"Running estimate of {one.judgement.policy}",
            one.running.at_us,
            [e.value for e in estimates],
            [e.low for e in estimates],
            [e.high for e in estimates],
            (time_text(first, seconds=seconds), time_text(last, seconds=seconds)),
            bounds=bounds,
            reference=one.logged.value,
            reference_label="as logged",
        )
        figures.append(figure(one.judgement.policy, "", chart))
    return el(
        "section",
        None,
        el("h2", None, "Running estimates over time"),
        el(
            "p",
            {"class": "lead"},
            f"The {word(followed)} estimate from all decisions up to each time. The band is the interval at "
            "that one look: who watches and stops when it looks good needs the anytime interval of the table "
            "above.",
        ),
        el("div", {"class": "charts"}, *figures),
    )
