"""A pydantic error -> the field and a sentence in plain words: what is wrong and what would be right."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from bandit.core.experiment import (
    CatalogueVariant,
    Experiment,
    Guardrail,
    Metric,
    RewardRule,
    Rollout,
    Signal,
)
from bandit.core.fields import NOT_A_NUMBER
from bandit.experiment_file.tree import Node, Path, misread

_EXAMPLES = {
    "id": "id: NAME",
    "owner": "owner: the person or team that decides",
    "variants": "variants: [{id: a}, {id: b}], or [] if every call brings its own",
    "features": "features: {colour: blue}",
    "signals": "signals: {NAME: {type: number}}",
    "reward": "reward: {metric: NAME}",
    "metric": "metric: NAME",
    "metrics": "metrics: {NAME: {range: [0, 1]}}",
    "guardrail": "guardrail: {worse: higher, tolerance: 0.01}",
    "policy": "policy: {preset: squarecb}",
    "rollout": "rollout: {stage: ramp, percent: 5}",
    "type": "type: number, category, flag or categories",
    "range": "range: [0, 1]",
    "worse": "worse: higher or lower",
}
"""Key -> how it is written, for those that can be missing or have the wrong shape."""

_SHAPES: dict[type[BaseModel] | None, str] = {
    Experiment: "id: NAME and the other keys of an experiment",
    CatalogueVariant: "{id: NAME}",
    Signal: "{type: number}",
    Metric: "{range: [0, 1]}",
}
"""The models whose keys are names or positions."""


def told(error: ValidationError, node: Node) -> Iterator[tuple[Path, str]]:
    """Each error of an experiment as its path below `node` and a message."""
    for detail in error.errors(include_url=False):
        path = _path(detail["loc"])
        context: dict[str, Any] = detail.get("ctx", {})
        if detail["type"] == "wrong":
            path = (*path, *context["at"])
        key_itself = "[key]" in detail["loc"]
        message = _message(detail["type"], path, context, detail["input"], node)
        yield path, f"the name {message}" if key_itself else message or detail["msg"]


def _path(location: tuple[str | int, ...]) -> Path:
    # Pydantic names the chosen side of a union, and a mapping's key, as steps of their own.
    steps = location[:1] + location[2:] if location[:1] == ("signals",) else location
    return tuple(step for step in steps if step != "[key]")


def _message(kind: str, path: Path, context: dict[str, Any], value: object, node: Node) -> str:
    at = node.find(path)[1]
    match kind:
        case "wrong" | "value_error":
            return _said(str(context["message"] if kind == "wrong" else context["error"]), at)
        case "missing":
            return f"is missing; write {_example(path)}"
        case "extra_forbidden":
            return _unknown(path)
        case "string_type":
            return _not_text(path, at)
        case "bool_type":
            return "is not a flag; write true or false"
        case "literal_error":
            return _not_one_of(str(context["expected"]), value)
        case "model_type" | "dict_type":
            return f"is {'empty' if value is None else 'not a mapping'}; write {_example(path)}"
        case "less_than_equal":
            return f"is {value:g}; at most {context['le']:g} is allowed"
        case "greater_than_equal":
            return f"is {value:g}; at least {context['ge']:g} is allowed"
        case _:
            return ""


def _said(message: str, at: Node | None) -> str:
    if at is not None and at.is_empty:
        return f"is empty; {message.partition('; ')[2]}"
    if message == NOT_A_NUMBER and at is not None and isinstance(at.scalar, str) and at.written:
        return f"is {at.written[:40]!r}, not a number; write digits, such as 1000 or 0.5"
    return message


def _example(path: Path) -> str:
    if path and path[-1] in _EXAMPLES:
        return _EXAMPLES[str(path[-1])]
    model = _model(path)
    return _SHAPES.get(model, "a value")


def _unknown(path: Path) -> str:
    model = _model(path[:-1])
    known = _keys(model) if model else []
    close = get_close_matches(str(path[-1]), known, 1)
    return f"is not a known key; {f'did you mean {close[0]}?' if close else f'use one of {_list(known)}'}"


def _not_text(path: Path, at: Node | None) -> str:
    if at is None or at.items is not None or at.entries is not None:
        return "is not a text; write one text"
    return f"is empty; write {_EXAMPLES.get(str(path[-1]), 'a text')}" if at.is_empty else misread(at)


def _not_one_of(expected: str, value: object) -> str:
    names = [name.strip("' ") for name in expected.replace(" or ", ", ").split(",")]
    close = get_close_matches(str(value), names, 1)
    what = f"is {value!r}" if isinstance(value, str) else "is not a name"
    return f"{what}; {f'did you mean {close[0]}? Use' if close else 'use'} {_list(names)}"


def _list(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model(path: Path) -> type[BaseModel] | None:
    """What the mapping at `path` of an experiment may hold."""
    match path:
        case ():
            return Experiment
        case ("variants", _):
            return CatalogueVariant
        case ("signals", _):
            return Signal
        case ("reward",):
            return RewardRule
        case ("metrics", _):
            return Metric
        case ("metrics", _, "guardrail"):
            return Guardrail
        case ("rollout",):
            return Rollout
        case _:
            return None
