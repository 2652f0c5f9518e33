"""An experiments file of small experiments, for real servers."""

from collections.abc import Sequence

PAGE = """
  - id: {id}
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b}}]
    baseline: a
    signals: {{recency: {{type: number, purpose: personalization}}}}
    reward: {{metric: visit, range: [0, 1], window: 10m, default: none, learn: on_reward}}
    on_log_failure: {on_log_failure}
"""


def experiments_of(*ids: str, failing: Sequence[str] = ()) -> str:
    """One experiment for each id. While the log can't be written, calls of those that are `failing` fail; the
    others serve the baseline.
    """
    pages = [PAGE.format(id=one, on_log_failure="baseline") for one in ids]
    pages += [PAGE.format(id=one, on_log_failure="fail") for one in failing]
    return "experiments:" + "".join(pages)
