"""banditd: a contextual bandit service. Distribution and command `banditd`, import package `bandit`.

The event log is the truth; everything else is a fold over it.
"""

__version__ = "0.1.0"
