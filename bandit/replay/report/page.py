"""Findings -> one self-contained page of HTML. It looks at no clock: same findings, same bytes."""

from collections.abc import Iterator

from bandit.replay.report.findings import Findings
from bandit.replay.report.markup import Html, document, el
from bandit.replay.report.mattering import signals_section
from bandit.replay.report.trust import trust
from bandit.replay.report.values import by_segment, over_time, values
from bandit.replay.report.variants import exposure_section, variants_section
from bandit.replay.report.words import reward_text, time_text


def render(findings: Findings, version: str) -> str:
    """The whole page; `version` is that of banditd."""
    refused = any(one.judgement.headline is None for one in findings.judged)
    told, limits = values(findings), _limits(findings, refused)
    main = el(
        "main",
        None,
        # What takes a headline away is told before any figure.
        *((limits, told) if refused else (told, limits)),
        by_segment(findings),
        over_time(findings),
        trust(findings),
        variants_section(findings),
        signals_section(findings.matters),
        exposure_section(findings),
    )
    return document(
        f"{findings.experiment.id}: replay report", _header(findings), main, _footer(findings, version)
    )


def _header(findings: Findings) -> Html:
    experiment = findings.experiment
    facts = [
        ("Log", f"{findings.log_name} ({findings.kind})"),
        ("Decisions", f"{findings.decisions:,} closed"),
        ("From", time_text(findings.first_us, seconds=True)),
        ("To", time_text(findings.last_us, seconds=True)),
        ("Judged on", f"{findings.logged.n:,} decisions with a reward"),
        ("Reward", reward_text(findings)),
        ("Intervals", f"{100 * (1 - findings.options.alpha):g} %"),
    ]
    if experiment.owner != experiment.id:
        facts.append(("Owner", experiment.owner))
    return el(
        "header",
        None,
        el("h1", None, f"What other policies would have earned: {experiment.id}"),
        el("p", {"class": "lead"}, experiment.hypothesis) if experiment.hypothesis else "",
        el(
            "dl",
            None,
            *(el("div", None, el("dt", None, name), el("dd", None, value)) for name, value in facts),
        ),
    )


def _limits(findings: Findings, refused: bool) -> Html:
    items = list(_refusals(findings)) + [el("li", None, line) for line in _left_out(findings)]
    if not items:
        items = [el("li", None, "Nothing that was asked: every policy above could be judged.")]
    return el(
        "section",
        {"class": "alarm"} if refused else None,
        el("h2", None, "What this log can't answer, and why"),
        el("ul", None, *items),
    )


def _refusals(findings: Findings) -> Iterator[Html]:
    for one in findings.judged:
        judgement = one.judgement
        if judgement.headline is None:
            yield el("li", None, el("b", None, f"{judgement.policy}: no headline. "), judgement.reason)
        for note in judgement.notes:
            yield el("li", None, el("b", None, f"{judgement.policy}: "), note)


def _left_out(findings: Findings) -> Iterator[str]:
    counts = findings.counts
    told = {
        "unrewarded": "{} decisions closed without a reward, and have no default: they are in no mean.",
        "out_of_range": "{} rewards lie outside the declared range, and were brought back to it.",
        "no_propensity": "{} judged decisions have no propensity: no estimate can use them.",
        "bad_propensity": "{} decisions have a propensity of 0, above 1 or not a number: they are left out.",
        "bad_lines": "{} lines of the log could not be read: they are left out.",
        "duplicates": "{} events came twice, and count once.",
    }
    for name, sentence in told.items():
        if counts.get(name):
            yield sentence.format(f"{counts[name]:,}")
    for reason, (number, what) in findings.first_trouble.items():
        yield f"The first bad line of {reason} is line {number:,}: {what}"
    control = counts.get("control", 0)
    if control and counts.get("treatment", 0) and findings.options.propensity == "own":
        yield (
            f"{control:,} decisions of the control arm were always served the baseline: they say nothing "
            "about other variants, and are not judged (propensity own)."
        )


def _footer(findings: Findings, version: str) -> Html:
    options = findings.options
    asked = [
        f"estimator {options.estimator}",
        f"propensity {options.propensity}",
        f"alpha {options.alpha:g}",
        *([f"metric {options.metric}"] if options.metric else []),
        *([f"since {time_text(options.since_us)}"] if options.since_us is not None else []),
        *([f"until {time_text(options.until_us)}"] if options.until_us is not None else []),
        *(["with a cross-fitted reward model"] if options.reward_model else []),
    ]
    return el(
        "footer",
        None,
        el(
            "p",
            None,
            f"banditd {version}, report: {', '.join(asked)}. Times are UTC and the log's own. Fixed "
            "policies are judged as they are; learning ones (squarecb and the like) decide, are judged, and "
            "then learn from each decision in turn, as they would have live.",
        ),
    )
