"""The policy that was meant, where one was written that a command does not know."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from bandit.policies.presets import PRESETS

_FIXED: Final = ("uniform", "fixed", "snapshot", "preset", "column")
"""What `evaluate` judges, by what stands before the colon."""

_LEARNING: Final = (*PRESETS, "logged")
"""What `replay` runs."""


def meant(command: str, policies: Sequence[str]) -> str:
    """A question to put behind an error, such as "did you mean preset:squarecb?"; empty if there is none."""
    known = {"evaluate": _FIXED, "replay": _LEARNING}.get(command, (*_FIXED, *_LEARNING))
    for policy in policies:
        head, colon, rest = policy.partition(":")
        if head in known:
            continue
        if command == "evaluate" and head in PRESETS:
            return f"did you mean preset:{policy}?"
        if command == "replay" and head == "preset" and rest.partition(":")[0] in PRESETS:
            return f"did you mean {rest}?"
        if command == "replay" and head in ("snapshot", "column"):
            return f"banditd evaluate judges {head}:…"
        for near in get_close_matches(head, {*known, *PRESETS}, n=1):
            needed = "preset:" if near not in known else ""
            return f"did you mean {needed}{near}{colon}{rest}?"
    return ""
