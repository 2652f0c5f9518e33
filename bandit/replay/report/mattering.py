"""The section of a report about signals: which of them can change a decision, and which carry nothing."""

from collections.abc import Iterator, Sequence
from typing import Final

from bandit.replay.report import plots
from bandit.replay.report.markup import Html, el, table
from bandit.replay.report.signals import (
    ALPHA,
    POWER,
    SIGNALS_MAX,
    SMALL,
    VARIANTS_MAX,
    Mattering,
    Matters,
    Verdict,
)

NAMED: Final = 30
"""Signals that a sentence names; the table has all."""

TEXT_CHARACTERS: Final = 40

_VERDICTS: Final[dict[Verdict, str]] = {
    "matters": "matters",
    "no_sign": "no sign that it matters",
    "too_few_rows": "too few rows to tell",
}
_CLASSES: Final[dict[Verdict, str]] = {"matters": "ok", "no_sign": "warn", "too_few_rows": "unknown"}


def signals_section(matters: Matters) -> Html:
    """Which signals matter; nothing where there was nothing to look at."""
    if not matters.rows:
        return Html("")
    heading = el("h2", None, "Which signals matter")
    if not any(one.rows for one in matters.signals):
        return el(
            "section",
            None,
            heading,
            el(
                "p",
                None,
                "The log's decisions come without contexts: it has no signals, and can't tell which matter.",
            ),
        )
    return el(
        "section",
        None,
        heading,
        el(
            "p",
            {"class": "lead"},
            "A signal can change a decision only if it changes what the variants earn by different amounts; "
            "one that moves all alike does not. Each number and each frequent value is tested for that, and "
            f"p is corrected for all tests here: below {ALPHA:g} it matters.",
        ),
        *(el("p", None, *sentence) for sentence in _sentences(matters)),
        table(
            f"Signals of {matters.rows:,} decisions, both arms",
            ("signal", "verdict", "p", "rows", "visible from", "shows most at"),
            [
                (
                    plots.shortened(one.signal, TEXT_CHARACTERS),
                    el("span", {"class": _CLASSES[one.verdict]}, _VERDICTS[one.verdict]),
                    _p(one.p),
                    f"{one.rows:,}",
                    "–" if one.visible is None else plots.figure_text(one.visible),
                    _where(one),
                )
                for one in matters.signals
            ],
            right=("p", "rows", "visible from"),
            cells={(row, 5): {"class": "say"} for row in range(len(matters.signals))},
        ),
        el("p", {"class": "lead"}, " ".join(_limits(matters))),
    )


def _sentences(matters: Matters) -> Iterator[Sequence[str]]:
    by_verdict: dict[Verdict, list[str]] = {}
    for one in matters.signals:
        by_verdict.setdefault(one.verdict, []).append(one.signal)
    strongest = by_verdict.get("matters", [])
    if strongest:
        yield el("b", None, "Matters most: "), _names(strongest), "."
    idle = by_verdict.get("no_sign", [])
    if idle:
        few = len(idle) == 1
        yield (
            el("b", None, "Carries nothing by itself: " if few else "Carry nothing by themselves: "),
            _names(idle),
            f". {'It costs' if few else 'They cost'} consent and attention and "
            f"{'changes' if few else 'change'} no decision that the log shows; two signals that decide only "
            "together are not seen by this test.",
        )
    unknown = by_verdict.get("too_few_rows", [])
    if unknown:
        yield (
            el("b", None, "Too few rows to tell: "),
            _names(unknown),
            f". Differences of {SMALL:g} standard deviations of the reward, or as large as the mean reward, "
            "might not have shown.",
        )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(plots.shortened(name, TEXT_CHARACTERS) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED:,} more" if len(names) > NAMED else shown


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def _where(one: Mattering) -> str:
    if one.variants is None:
        return ""
    more, less = (plots.shortened(variant, TEXT_CHARACTERS) for variant in one.variants)
    value = "higher values" if one.value is None else plots.shortened(one.value, TEXT_CHARACTERS)
    return f"{value}: {more} gains over {less}"


def _limits(matters: Matters) -> Iterator[str]:
    yield (
        "Visible from: the difference of two variants' gains, in reward, by a value or by a standard "
        f"deviation of a number, that would be found in {100 * POWER:g} % of such logs. Smaller ones may "
        "still be there."
    )
    yield (
        "A signal that goes along with one that matters may be found in its place. Of one subject's "
        "decisions the first with each variant counts."
    )
    if not matters.weighted:
        yield (
            "The log has no propensities: where variants were chosen by the signals, this may find more "
            "than there is."
        )
    if matters.more_signals:
        yield f"Only {SIGNALS_MAX} signals were looked at; the log has more."
    if matters.more_variants:
        yield f"Only the {VARIANTS_MAX} most served variants were looked at."
