"""The kinds of value that an experiment definition is made of: ids, durations, numbers, ranges, features.

Each is a pydantic type that takes what YAML or JSON gives and converts no type into another. Messages are
written to stand behind the name of the field: they tell what is wrong and what would be right.
"""

import json
import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from bandit.core import limits
from bandit.core.records import FeatureValue, Stage

_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNIT_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_WINDOW_MAX_US = limits.WINDOW_DAYS_MAX * _UNIT_US["d"]

NOT_A_NUMBER = "is not a number; write a number, without quotes"

# C0 and C1 controls, line and paragraph separators, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# A position and the digest of what shaped the model: bandit.snapshots.manifest.snapshot_id.
_SNAPSHOT = re.compile("[0-9]{16,19}-[0-9]{10,19}-[0-9a-f]{8}")


def wrong_at(message: str, *at: str | int) -> PydanticCustomError:
    """An error whose place is `at` below the field that is being validated; its context holds both."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "at": at})


def id_problem(text: str) -> str:
    """Why `text` can't be an id or a name; empty if it can."""
    if not text:
        return "is empty; give 1 to 64 bytes"
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.ID_BYTES:
        return f"has {size} bytes; at most {limits.ID_BYTES} are allowed"
    if _CONTROL.search(text):
        return "has a control character; use printable text"
    return ""


def _checked_id(text: str) -> str:
    problem = id_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def _checked_snapshot(text: str) -> str:
    if not _SNAPSHOT.fullmatch(text):
        raise ValueError(
            f"is {text[:60]!r}, not the id of a snapshot; write one that `banditd experiment list` shows, "
            "such as 1795411976882421-0000015936-0c85b558, or leave it out to serve the newest"
        )
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; name the person or team that decides about this experiment")
    return text


def _duration_us(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"is {value} without a unit; write a duration such as {value}s or 10m")
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(
            "is not a duration; write a whole number and a unit (ms, s, m, h or d) without a space, "
            "such as 10m"
        )
    us = int(found[1]) * _UNIT_US[found[2]]
    if not 0 < us <= _WINDOW_MAX_US:
        raise ValueError(f"is {found[0]}; a window is longer than 0 and at most {limits.WINDOW_DAYS_MAX}d")
    return us


def finite_number(value: object) -> float:
    """An int or a float as a finite float. Raises ValueError for anything else, a bool or a text too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(NOT_A_NUMBER)
    try:
        number = float(value)
    except OverflowError:  # an int of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("is not finite; write an ordinary number")
    return number


def _number_at(place: str | int, value: object) -> float:
    try:
        return finite_number(value)
    except ValueError as error:
        raise wrong_at(str(error), place) from error


def _range(value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("is not a range; write two numbers [low, high]")
    low, high = (_number_at(index, item) for index, item in enumerate(value))
    if not low < high:
        raise ValueError(f"is [{low:g}, {high:g}]; the first number must be below the second")
    return low, high


def _reward_range(value: object) -> tuple[float, float]:
    low, high = _range(value)
    if max(-low, high) > limits.REWARD_MAGNITUDE:
        raise ValueError(
            f"is [{low:g}, {high:g}]; rewards lie within ±{limits.REWARD_MAGNITUDE:g}: "
            "measure in a larger unit"
        )
    return low, high


def _stage(value: object) -> Stage:
    names = [stage.name.lower() for stage in Stage]
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"is not a stage; use one of {', '.join(names)}")
    return Stage[value.upper()]


def _feature(name: str, value: object) -> FeatureValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number_at(name, value)
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise wrong_at(
            "is not a feature value; write a number, a text, true or false, or a list of texts", name
        )
    if len(texts) > limits.TEXTS_VALUES:
        raise wrong_at(f"has {len(texts)} texts; at most {limits.TEXTS_VALUES} are allowed", name)
    longest = max((len(text.encode()) for text in texts), default=0)
    if longest > limits.TEXT_BYTES:
        raise wrong_at(f"has a text of {longest} bytes; at most {limits.TEXT_BYTES} are allowed", name)
    return value if isinstance(value, str) else tuple(texts)


def _features(value: object) -> dict[str, FeatureValue]:
    if not isinstance(value, dict):
        raise ValueError("is not a mapping; write features as {name: value}")
    if len(value) > limits.FEATURES_PER_VARIANT:
        raise ValueError(f"has {len(value)} features; at most {limits.FEATURES_PER_VARIANT} are allowed")
    for name in value:
        problem = id_problem(name) if isinstance(name, str) else "is not text; put quotes around it"
        if problem:
            raise wrong_at(f"the name {problem}", name)
    return {name: _feature(name, item) for name, item in value.items()}


def payload_json(value: Any) -> str:
    """`value` as the compact JSON text that travels to callers; empty for None. Raises ValueError."""
    if value is None:
        return ""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            "is not JSON; use texts, finite numbers, true, false, null, lists and mappings"
        ) from error


def _payload(value: Any) -> Any:
    size = len(payload_json(value))  # ASCII, so characters are bytes
    if size > limits.PAYLOAD_BYTES:
        raise ValueError(f"has {size} bytes as JSON; at most {limits.PAYLOAD_BYTES} are allowed")
    return value


Identifier = Annotated[str, AfterValidator(_checked_id)]
SnapshotId = Annotated[str, AfterValidator(_checked_snapshot)]
Owner = Annotated[str, AfterValidator(_filled)]
Number = Annotated[float, BeforeValidator(finite_number)]
Range = Annotated[tuple[float, float], BeforeValidator(_range)]
RewardRange = Annotated[tuple[float, float], BeforeValidator(_reward_range)]
WindowUs = Annotated[
    int, BeforeValidator(_duration_us), PlainSerializer(lambda us: f"{us // 1000}ms", return_type=str)
]
RolloutStage = Annotated[
    Stage, BeforeValidator(_stage), PlainSerializer(lambda stage: stage.name.lower(), return_type=str)
]
FeatureMap = Annotated[dict[str, Any], BeforeValidator(_features)]
Payload = Annotated[Any, AfterValidator(_payload)]
