"""One page about a log and some policies.

- `findings`: a log in, `Findings` out; `exposure` and `series` are the few figures that its charts show,
  `signals` tells which signals matter
- `page`: findings -> HTML, in sections (`values`, `trust`, `variants`, `mattering`) and their `words`
- `markup`, `plots`: HTML whose texts can't become markup, and charts as SVG
"""

from bandit.replay.report.findings import Findings as Findings
from bandit.replay.report.findings import Judged as Judged
from bandit.replay.report.findings import collect as collect
from bandit.replay.report.findings import default_policies as default_policies
from bandit.replay.report.findings import learns as learns
from bandit.replay.report.page import render as render
