"""banditd: a contextual bandit service. Distribution and command `banditd`, import package `bandit`.

The event log is the truth; everything else is a fold over it. How data flows:

    Choose -> serving.convert -> core.choose (experiment, arm, policy, draw) -> event log -> reply
    Reward -> serving.convert -> event log, synced -> reply
    event log -> core.joining -> joined events in closing order -> learning.fold -> snapshot -> served
    event log, or another log -> the same joined events and fold -> replay: what a policy would have earned

The map, a line a room; each may know those below it:

    cli              one module a verb of the command `banditd`
    demo             plays a real data set through a running server
    local            LocalBandit: the same core, log and learner in one process, without a server
    serving          the server: supervisor, workers, learner process; gRPC in, gRPC out
    client           the Python client, sync (`bandit.client`) and asyncio (`bandit.client.aio`)
    replay           judges policies on a log: estimators, diagnostics, sweeps, the report
    learning         folds joined events into models and summaries; tails the log; publishes snapshots
    experiment_file  YAML -> experiments, or problems with file, line and field
    policies         presets, and the models behind them; vw is the one room that knows Vowpal Wabbit
    eventlog         the one ordered log of decisions, rewards and definitions: SQLite, and export formats
    snapshots        stored models with their manifests
    core             pure: experiments, choosing, sampling, exploration, joining, limits, errors
    v1, log.v1       generated messages: of the API, and of stored records

Beside them stand what processes need: settings, logs, secret (a folder's key), ids, process (locks).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bandit.local import LocalBandit

__all__ = ["LocalBandit", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Looked up when asked for: who imports the client must not wait for the model library.
    if name == "LocalBandit":
        from bandit.local import LocalBandit

        return LocalBandit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
