"""Limits and ids of a call, whatever it came in: the checks that need no experiment. All raise Refused."""

from functools import lru_cache

from bandit.core import limits
from bandit.core.errors import Reason, limit_exceeded, refused_field
from bandit.core.fields import id_problem


def check_count(field: str, count: int, limit: int, unit: str) -> None:
    """LIMIT_EXCEEDED for more than `limit` of something."""
    if count > limit:
        raise limit_exceeded(field, limit, count, unit)


def check_size(field: str, text: str, limit: int) -> None:
    """LIMIT_EXCEEDED for a text of more than `limit` bytes."""
    # A character has at most four bytes, so most texts need no encoding to be known short enough.
    if len(text) * 4 > limit and (size := len(text.encode("utf-8", "surrogatepass"))) > limit:
        raise limit_exceeded(field[: limits.ID_BYTES * 2], limit, size, "bytes")


def check_id_size(field: str, text: str) -> None:
    """LIMIT_EXCEEDED for an id or a name that is too long."""
    check_size(field, text, limits.ID_BYTES)


def check_required_id(field: str, text: str) -> None:
    """MISSING_ID or INVALID_ID."""
    if not text:
        raise refused_field(Reason.MISSING_ID, field, f"{field} is empty. Give 1 to {limits.ID_BYTES} bytes.")
    check_id(field, text)


def check_id(field: str, text: str) -> None:
    """INVALID_ID."""
    problem = id_problem(text)
    if problem:
        raise refused_field(Reason.INVALID_ID, field, f"{field} {problem}.")


def name_problem(name: str) -> str:
    """`id_problem` of a name: those of signals and features are few and come with every call."""
    # A name that is too long may be as long as a message: none of those is kept.
    return _name_problem(name) if len(name) <= limits.ID_BYTES else id_problem(name)


_name_problem = lru_cache(maxsize=4096)(id_problem)
