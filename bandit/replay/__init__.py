"""What another policy would have earned, told from a log, with the doubt that belongs to it.

- `columns`: a log's judged decisions, and a policy's opinion on them, as arrays
- `estimators`: arrays in, `Estimate` out: IPS, SNIPS, DM, DR, Switch-DR, shrunk DR, Cressie–Read
- `intervals`: the intervals behind them, and one that is valid at every look
- `diagnostics`: whether the log can answer the question at all
- `frames`: a frame of logged decisions in, a `Judgement` out
- `sources`, `runner`: a log in, a judgement a policy out; the loop behind `banditd evaluate` and `replay`
- `sweep`: many replays in parallel, and which of them may be the best
- `report`: one page about a log and some policies

`from bandit.replay import estimators` needs nothing but numpy.
"""

from bandit.replay.frames import evaluate_feedback as evaluate_feedback
from bandit.replay.frames import evaluate_frame as evaluate_frame
