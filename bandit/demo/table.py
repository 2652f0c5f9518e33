"""A run's figures as tables for people."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bandit.demo.customers import VARIANTS
from bandit.demo.estimates import Estimate
from bandit.demo.summary import Row, Summary


def show(console: Console, summary: Summary) -> None:
    """Prints everything that `summary` holds."""
    for table in (_rewards(summary), _preferences(summary)):
        console.print(table)
        console.print()
    lines = [
        f"{summary.rounds_counted:,} of {summary.customers:,} rounds counted: "
        "the choice was what the customer was really sent",
        f"{summary.snapshots:,} snapshots published, "
        f"{summary.decisions_per_second:,.0f} decisions a second over {summary.seconds:.1f} s "
        f"({', '.join(f'{count:,} {source}' for source, count in sorted(summary.sources.items()))})",
        f"seed {summary.seed} is the order of the customers; the service's draws differ from run to run",
        f"data folder  {summary.paths.data_dir}",
        f"event log    {summary.paths.events}",
        f"snapshots    {summary.paths.snapshots}",
        f"server log   {summary.paths.log}",
    ]
    for line in lines:
        # Paths stay whole, to be copied.
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _rewards(summary: Summary) -> Table:
    until = ", until the interruption" if summary.interrupted else ""
    table = _table(f"Visits a customer, with 95 % intervals{until}")
    table.add_column("chosen by", no_wrap=True)
    table.add_column("rounds", justify="right")
    table.add_column("mean reward", justify="right", no_wrap=True)
    table.add_column("difference to uniform", justify="right", no_wrap=True)
    rows = [("banditd", summary.served), ("  its last quarter", summary.last_quarter)]
    rows += [("uniform", summary.uniform)]
    rows += [(f"always {variant}", row) for variant, row in summary.fixed.items()]
    for name, row in rows:
        style = "bold" if row is summary.served else ""
        table.add_row(name, *_cells(row), style=style)
    return table


def _cells(row: Row) -> tuple[str, str, str]:
    return f"{row.rounds:,}", _text(row.mean, ""), _text(row.difference_to_uniform, "+")


def _text(estimate: Estimate | None, sign: str) -> str:
    if estimate is None:
        return ""
    # Without the zero before the point, a row fits a terminal of 80 columns.
    value, low, high = (
        f"{number:{sign}.4f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:{sign}.4f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _preferences(summary: Summary) -> Table:
    table = _table("What the policy prefers now, by what was bought before")
    table.add_column("bought")
    table.add_column("customers", justify="right")
    for variant in VARIANTS.values():
        table.add_column(variant, justify="right")
    table.add_column("prefers")
    for history, preference in summary.preferences.items():
        shares = [f"{share:.3f}" for share in preference.distribution.values()]
        table.add_row(history, f"{preference.customers:,}", *shares, preference.top)
    return table


def _table(title: str) -> Table:
    # As narrow as it goes: the widest figures still fit 80 columns.
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
