"""Many policies on one log, in parallel, and an honest winner.

- `grid`: a file -> the policies of a sweep
- `cells`: one policy's replay as plain data, and the folder of finished ones
- `pool`, `running`: worker processes, and the loop that keeps them busy
- `ranking`: finished cells in order, and which of them may be the best, by what `paired` kept of each
"""

from bandit.replay.sweep.ranking import Ranking as Ranking
from bandit.replay.sweep.ranking import cell_alpha as cell_alpha
from bandit.replay.sweep.ranking import rank as rank
from bandit.replay.sweep.running import Done as Done
from bandit.replay.sweep.running import Stopped as Stopped
from bandit.replay.sweep.running import sweep as sweep
