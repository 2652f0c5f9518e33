"""LocalBandit: the same core, learner and log in one process, without a server.

request   Python values -> checked plain data, as the server checks a message
journal   where decisions and rewards go: memory, or the event log of a data folder
bandit    LocalBandit: choose, reward, advance
"""

from bandit.local.bandit import LocalBandit, LocalChoice

__all__ = ["LocalBandit", "LocalChoice"]
