"""What keeps a log from being replayed or judged."""


class BadLog(Exception):
    """The log can't answer what was asked. The message says why, and what can be done instead."""


class BadPolicy(ValueError):
    """A policy, option or choice that the log does not have. The message says what would be right."""


class MissingExtra(BadLog):
    """A format needs packages that are not installed. The message follows the name of a command."""

    def __init__(self) -> None:
        super().__init__("needs the extra `replay`: pip install 'banditd[replay]'")
