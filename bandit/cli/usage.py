"""Bad usage and failures of the system, each told in one line; and help whose paragraphs fit any width."""

import errno
import inspect
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import typer

UsageError: Final = typer.BadParameter.__mro__[1]
"""What typer raises for bad usage. It exports the subclass alone."""

_NO_ROOM: Final = "make room, or name another place"
_NO_RIGHT: Final = "give this user the right to it, or name another place"
_ADVICE: Final = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "it is mounted read-only: name another place",
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
    errno.EEXIST: "name another place",
    errno.ENOENT: "make it first, or name another place",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
}
"""What to do about an error number."""

_PATHS: Final = ("--data-dir", "--experiments", "--from", "--grid", "--output")


def told(error: Any) -> str:
    """A UsageError as one line that says what to do next. Empty where help was shown already."""
    # An option without its value is found before there is a context.
    command = "banditd" if error.ctx is None else error.ctx.command_path
    if isinstance(error, typer.BadParameter) and error.message:
        error.message = _reworded(error)
        line = error.format_message()
    else:
        line = error.format_message().rstrip(".")
        if not line:
            return ""
        asks = line.endswith("?")
        if line.startswith("No such command") and not asks:
            line += f"; there are {', '.join(error.ctx.command.list_commands(error.ctx))}"
        line += f"{'' if asks else ';'} see {command} --help"
    # Choices come on lines of their own.
    return f"{command}: {' '.join(line.split())}"


def told_of_system(error: Exception) -> str:
    """An error as one line: of the system's, what it refused and what to do, without the number; of ours, its
    message.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{what}; {advice}" if advice else what


def without_path(arguments: Sequence[str]) -> str:
    """The first option for a path that was given an empty one, as an unset variable leaves it; empty if none
    was. A path of no characters would be the current folder.
    """
    for argument, following in zip_longest(arguments, arguments[1:]):
        option, given, value = argument.partition("=")
        if option in _PATHS and "" in ((value,) if given else (following,)):
            return option
    return ""


def unwrapped(text: str | None) -> str:
    """A docstring without the line breaks within its paragraphs: those are the source's, not the screen's."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _reworded(error: typer.BadParameter) -> str:
    """The message, in our words where the library that converts arguments gave its own."""
    cause: Any = error.__cause__
    if not hasattr(cause, "errors"):
        return error.message
    found: Mapping[str, Any] = cause.errors()[0]
    limits, given = found.get("ctx", {}), found["input"]
    match found["type"]:
        case "int_parsing" | "int_parsing_size" | "int_type" | "int_from_float":
            return f"{given!r} is not a whole number"
        case "float_parsing" | "float_type":
            return f"{given!r} is not a number"
        case "greater_than_equal":
            return f"{given} is too small; use at least {limits['ge']:g}"
        case "less_than_equal":
            return f"{given} is too large; use at most {limits['le']:g}"
    return error.message.removeprefix("Value error, ").rstrip(".")
