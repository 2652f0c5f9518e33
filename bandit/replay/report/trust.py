"""The section of a report about what may be believed: checks, calibration, weights."""

from itertools import chain
from typing import Final

from bandit.replay.diagnostics import Diagnostic
from bandit.replay.judging import Judgement
from bandit.replay.report import plots
from bandit.replay.report.findings import VARIANTS_SHOWN, Findings
from bandit.replay.report.markup import Html, el, join, table
from bandit.replay.report.plots import Interval, figure_text, percent_text
from bandit.replay.report.series import WEIGHT_LABELS
from bandit.replay.report.words import beside, figure, word

CALIBRATION_ERRORS: Final = 3.0
"""Calibration is drawn against this many standard errors to either side."""

_VERDICTS: Final = {"ok": "ok", "warn": "caution", "fail": "failed", "unknown": "unknown"}


def trust(findings: Findings) -> Html:
    """Checks, calibration and weights."""
    checks = [one.judgement.diagnostics.checks for one in findings.judged]
    by_name: dict[str, list[Diagnostic]] = {}
    for check in chain.from_iterable(checks):
        by_name.setdefault(check.name, []).append(check)
    shared = [found[0] for found in by_name.values() if all(_same(check, found[0]) for check in found)]
    own = [name for name in by_name if name not in {check.name for check in shared}]
    parts = [
        table(
            "Checks of the log" if own else "Checks",
            ("check", "verdict", "found", "limit", "what to do"),
            [(word(c.name), _verdict(c), _found(c), figure_text(c.threshold), c.advice) for c in shared],
            right=("found", "limit"),
            cells={(row, 4): {"class": "say"} for row in range(len(shared))},
        )
    ]
    if own:
        parts.append(
            table(
                "Checks of each policy",
                ("policy", *map(word, own)),
                [
                    (one.judgement.policy, *(_both(one.judgement, name) for name in own))
                    for one in findings.judged
                ],
            )
        )
        advice = dict.fromkeys(
            (check.advice, word(name)) for name in own for check in by_name[name] if check.verdict != "ok"
        )
        parts.append(
            el("ul", None, *(el("li", None, el("b", None, f"{name}: "), text) for text, name in advice))
            if advice
            else Html("")
        )
    return el(
        "section",
        None,
        el("h2", None, "Can these figures be trusted?"),
        el(
            "p",
            {"class": "lead"},
            "A failed check takes the headline away; a caution does not, but read what it says.",
        ),
        *parts,
        _calibration(findings),
        _weights(findings),
    )


def _calibration(findings: Findings) -> Html:
    rows = [
        Interval(
            row.variant_id,
            row.served - row.expected,
            -CALIBRATION_ERRORS * row.deviation,
            CALIBRATION_ERRORS * row.deviation,
            abs(row.served - row.expected) > CALIBRATION_ERRORS * row.deviation,
        )
        for row in findings.calibration
        if row.expected is not None
    ]
    if not rows:
        return join(
            el("h3", None, "Propensity calibration"),
            el("p", None, "The log has no whole distributions, so this can't be checked."),
        )
    chart = plots.forest(
        "calibration",
        "Served less expected share of each variant",
        rows,
        reference=0.0,
        reference_label="expected",
        said=_points,
        marked=_points,
        banded=True,
    )
    return join(
        el("h3", None, "Propensity calibration"),
        el(
            "p",
            {"class": "lead"},
            "Was each variant served as often as its logged probabilities say? The dot is the share served "
            "less the share expected; the band is what chance alone gives, three standard errors to "
            "either side. A dot outside says that the logged propensities are not the true ones. Of many "
            f"variants, the {VARIANTS_SHOWN} with the largest expected share are shown.",
        ),
        beside(chart, Html("")),
    )


def _weights(findings: Findings) -> Html:
    figures = []
    for index, one in enumerate(findings.judged):
        found = one.weights
        if not found.rows:
            continue
        chart = plots.histogram(
            f"weights-{index}",
            f"Importance weights of {one.judgement.policy}",
            WEIGHT_LABELS,
            found.row_shares,
            found.mass_shares,
        )
        said = (
            f"effective sample {found.effective:,.0f} of {found.rows:,} rows; largest weight "
            f"{figure_text(found.largest)}, {percent_text(found.largest_share)} of all; "
            f"mean {figure_text(found.mean)}"
        )
        figures.append(figure(one.judgement.policy, said, chart))
    if not figures:
        return Html("")
    return join(
        el("h3", None, "Weights and effective sample size"),
        el(
            "p",
            {"class": "lead"},
            "A decision's weight is the probability of what was served under the policy over its propensity. "
            "Filled: the share of decisions with such a weight (from the figure below the bar to the next). "
            "Outlined: the share of all weight that lies there. Where few decisions carry much of it, the "
            "estimate hangs on them.",
        ),
        el("div", {"class": "charts"}, *figures),
    )


def _points(value: float) -> str:
    """A difference of shares, in points of a per cent."""
    return f"{100 * value:+.2g} pt" if value else "0"


def _same(one: Diagnostic, other: Diagnostic) -> bool:
    return (one.value, one.verdict, one.advice) == (other.value, other.verdict, other.advice)


def _found(check: Diagnostic) -> str:
    return "–" if check.value is None else figure_text(check.value)


def _verdict(check: Diagnostic) -> Html:
    return el("span", {"class": check.verdict}, _VERDICTS[check.verdict])


def _both(judgement: Judgement, name: str) -> Html:
    check = next((check for check in judgement.diagnostics.checks if check.name == name), None)
    return Html("–") if check is None else join(_verdict(check), f" {_found(check)}")
