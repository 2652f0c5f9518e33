"""`c._multi` of a dsjson line that somebody else wrote -> variants with ids."""

from typing import Any

from bandit.core import limits
from bandit.core.records import Variant
from bandit.eventlog.formats.features import Flattener
from bandit.eventlog.formats.lines import BadLine


def foreign_variants(multi: list[dict[str, Any]], flattener: Flattener) -> tuple[Variant, ...]:
    """Variants with the ids that the line gives them: `id`, `_id` or `_tag`, else the `id` of a namespace if
    all differ in it, else their numbers from 1.
    """
    features = [flattener.features(item, limits.FEATURES_PER_VARIANT) for item in multi]
    ids = [_text(item.get("id", item.get("_id", item.get("_tag")))) for item in multi]
    if all(ids):
        for own in features:
            own.pop("id", None)
    elif any(ids):
        raise BadLine("INVALID_VARIANT", "names some of its variants by id, _id or _tag, and others not")
    else:
        ids = [_nested_id(item) for item in multi]
        if not all(ids) or len({*ids}) != len(ids):
            ids = [str(number) for number in range(1, len(multi) + 1)]
    return tuple([Variant(*both) for both in zip(ids, features, strict=True)])


def _nested_id(item: dict[str, Any]) -> str:
    for name, value in item.items():
        if type(value) is dict:
            if "id" in value and name[:1] != "_" and (found := _text(value["id"])):
                return found
        elif type(value) is list and name[:1] != "_":
            for part in value:
                if type(part) is dict and (found := _text(part.get("id"))):
                    return found
    return ""


def _text(value: Any) -> str:
    """An id, which may be a whole number too; empty for anything else."""
    return value if type(value) is str else str(value) if type(value) is int else ""
