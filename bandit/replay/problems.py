"""Why a log can't be judged at all, or a policy not be headlined, in sentences that say what to do."""

from collections.abc import Mapping
from typing import Final

from bandit.replay.columns import Logged, Target
from bandit.replay.diagnostics import UNSUPPORTED_MAX

BASELINE_ONLY: Final = (
    "Every decision of the log had one possible outcome, such as the baseline: nothing but that can be "
    "judged from it."
)


def nothing_to_judge(
    counts: Mapping[str, int], trouble: Mapping[str, tuple[int, str]], *, part: bool, metric: str
) -> str:
    """Why no row could be judged. `part` tells that only a part of the time was asked for.

    `trouble` holds the first bad line by reason; `metric` is the secondary metric that is judged, if any.
    """
    if not counts["joined"]:
        if counts["too_recent"] and metric:
            return (
                f"The windows of {counts['too_recent']:,} decisions have not ended, and until then they may "
                f"get a value of the metric {metric!r}: no fair mean can be told before."
            )
        if counts["too_recent"]:
            return (
                f"{counts['too_recent']:,} decisions have their reward, and {counts['still_open']:,} of the "
                "same time are still open: no fair mean can be told before the windows of those end."
            )
        if trouble:
            reason, (number, message) = next(iter(trouble.items()))
            return (
                f"None of the log's {counts['bad_lines']:,} lines could be read; line {number} {message} "
                f"({reason}). Give a data folder, a Parquet data set, or a dsjson file."
            )
        if part:
            return "No decision of the log lies in that time."
        return "The log is empty: it holds no closed decision of this experiment."
    what = f"a value of the metric {metric!r}" if metric else "a reward"
    return (
        f"None of the {counts['joined']:,} closed decisions has {what}, so there is nothing to average. "
        "Give the experiment a default reward if no reward means one."
    )


def problems_of(logged: Logged, target: Target) -> list[str]:
    """What keeps a policy from a headline beside the diagnostics: what they can't tell from columns alone."""
    problems = []
    count, counts = len(logged.reward), logged.counts
    if counts["no_propensity"] == count:
        problems.append(
            "The log has no propensities, so no policy but its own can be judged: its own mean is given, and "
            "replay can still train a policy on it."
        )
    outside = counts["out_of_range"]
    if outside:
        low, high = logged.reward_range
        problems.append(
            f"{outside:,} values lie outside the declared range [{low:g}, {high:g}], on which estimates and "
            "intervals rest: declare the range that they have (--reward-range LOW,HIGH for a dsjson file)."
        )
    # Where one variant alone could be served, only a policy that serves it is supported.
    if (
        count
        and bool((logged.propensity == 1.0).all())
        and float(target.unsupported.mean()) > UNSUPPORTED_MAX
    ):
        problems.append(BASELINE_ONLY)
    return problems
