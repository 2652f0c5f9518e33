"""Work in steps: whoever drives it may do something else after each."""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

Steps = Generator[None, None, Result]
"""Yields between two steps, and has a result at the end."""


def finished(steps: Steps[Result]) -> Result:
    """The result of all steps that are left, in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
