"""The sections of a report about variants: what they earned where they were served, and to whom that was."""

from collections.abc import Sequence
from typing import Final

from bandit.replay.report import plots
from bandit.replay.report.exposure import OTHERS, Breakdown
from bandit.replay.report.findings import VARIANTS_SHOWN, Findings
from bandit.replay.report.markup import Html, el, table
from bandit.replay.report.plots import Interval, percent_text
from bandit.replay.report.series import Served
from bandit.replay.report.words import Said, beside, between, reward_words

HEADER_CHARACTERS: Final = 16
VALUE_CHARACTERS: Final = 40


def variants_section(findings: Findings) -> Html:
    """What the decisions earned that served each variant."""
    rows = [row for row in findings.served if row.mean is not None]
    more = findings.variants - len(findings.served)
    said = reward_words(findings)
    chart = plots.forest(
        "rewards",
        "Mean reward of the decisions that served each variant",
        [Interval(row.variant_id, row.mean.value, row.mean.low, row.mean.high) for row in rows if row.mean],
        reference=findings.logged.value,
        reference_label="all",
        said=said,
    )
    return el(
        "section",
        None,
        el("h2", None, "Reward by variant"),
        el(
            "p",
            {"class": "lead"},
            "The mean reward where each variant was served. Who was served what depended on the context, so "
            "this compares audiences as much as variants: what a variant would earn if all were shown it is "
            "the value of fixed:ID.",
        ),
        beside(
            chart if rows else Html(""),
            table(
                "Judged decisions by variant"
                + (f"; the {VARIANTS_SHOWN} most served, {more:,} others not shown" if more > 0 else ""),
                ("variant", "served", "share", "expected", "reward", "interval"),
                [_served(row, said) for row in findings.served],
                right=("served", "share", "expected", "reward", "interval"),
            ),
        ),
    )


def _served(row: Served, said: Said) -> tuple[str, ...]:
    return (
        row.variant_id,
        f"{row.rows:,}",
        percent_text(row.served) if row.calibrated else "–",
        "–" if row.expected is None else percent_text(row.expected),
        "–" if row.mean is None else said(row.mean.value),
        "" if row.mean is None else between(row.mean, said),
    )


def exposure_section(findings: Findings) -> Html:
    """Who was served what."""
    if not findings.breakdowns:
        return Html("")
    totals: dict[str, int] = {}
    for breakdown in findings.breakdowns[:1]:
        for segment in breakdown.segments:
            for variant, count in segment.served.items():
                totals[variant] = totals.get(variant, 0) + count
    ordered = sorted(totals, key=lambda variant: (-totals[variant], variant))
    variants = ordered if len(ordered) <= VARIANTS_SHOWN else ordered[: VARIANTS_SHOWN - 1]
    return el(
        "section",
        None,
        el("h2", None, "Exposure of each variant by segment"),
        el(
            "p",
            {"class": "lead"},
            "Of all decisions with a value of a signal, both arms, the share that was served each variant. "
            "The deeper the shade, the larger the share.",
        ),
        el(
            "div",
            {"class": "tables"},
            *(_breakdown(one, variants, len(ordered) - len(variants)) for one in findings.breakdowns),
        ),
    )


def _breakdown(breakdown: Breakdown, variants: Sequence[str], others: int) -> Html:
    rows, cells = [], {}
    for i, segment in enumerate(breakdown.segments):
        counts = [segment.served.get(variant, 0) for variant in variants]
        if others:
            counts.append(segment.decisions - sum(counts))
        shares = [count / segment.decisions for count in counts]
        rows.append(
            (
                plots.shortened(segment.value, VALUE_CHARACTERS),
                f"{segment.decisions:,}",
                *map(percent_text, shares),
            )
        )
        for j, share in enumerate(shares):
            cells[i, j + 2] = {"class": "n share", "style": f"--p:{share:.3f}"}
    # The whole ids stand in the table of rewards; here they would push the figures out of sight.
    names = [plots.shortened(variant, HEADER_CHARACTERS) for variant in variants]
    names += [f"{others:,} {OTHERS}"] if others else []
    return table(
        f"Served by {breakdown.signal}",
        (breakdown.signal, "decisions", *names),
        rows,
        right=("decisions", *names),
        cells=cells,
    )
