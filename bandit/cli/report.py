"""`banditd report`: one page about what a log says of other policies, and what it can't say."""

from pathlib import Path
from typing import Annotated

import typer

from bandit import __version__
from bandit.cli import judging
from bandit.cli.log_options import Asked, LogPath, with_log_options


@with_log_options()
def command(
    log: LogPath,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="The page to write or replace."),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="As in evaluate (uniform, fixed:ID, …) or as in replay (squarecb, …); repeatable. Default: "
            "uniform, and fixed:ID of the first variants.",
        ),
    ] = None,
    *,
    asked: Asked,
) -> None:
    """Writes one self-contained HTML page: values with intervals, over time, checks, variants, segments.

    It fetches nothing and runs no script. The same log and options give the same bytes.

    Exit 0 even where diagnostics take headlines away: the page says so first; 1 if the log can't be used at
    all.
    """
    from bandit.cli.showing import bars, console_for_people
    from bandit.replay.report import collect, render
    from bandit.replay.runner import choose_experiment

    given, declared = asked.options(), asked.declared_range()
    failures = judging.failures("report", policy or [])
    with failures, bars() as progress, judging.opened(log, declared) as source:
        experiment_id = choose_experiment(source, asked.experiment)
        findings = collect(source, log.resolve().name, experiment_id, policy or [], given, progress)
    page = render(findings, __version__)
    # Written aside and renamed, so that nobody opens half a page.
    aside = output.with_name(f".{output.name}.part")
    try:
        aside.write_text(page, encoding="utf-8")
        aside.replace(output)
    except OSError as error:
        typer.echo(f"banditd report: {output} can't be written: {error.strerror or error}", err=True)
        raise typer.Exit(1) from error
    finally:
        aside.unlink(missing_ok=True)
    if asked.as_json:
        judging.show_json({"output": str(output), "bytes": len(page.encode()), **findings.to_json()})
        return
    console = console_for_people()
    for one in findings.judged:
        headline = one.judgement.headline
        said = (
            f"no value. {one.judgement.reason}"
            if headline is None
            else f"{headline.value:.4f} ({headline.low:.4f} to {headline.high:.4f})"
        )
        console.print(f"{one.judgement.policy}: {said}", soft_wrap=True)
    console.print(
        f"as logged: {findings.logged.value:.4f} over {findings.logged.n:,} decisions", soft_wrap=True
    )
    console.print(f"wrote {output}, {len(page.encode()):,} bytes", soft_wrap=True)
