"""The manifest of a snapshot: what the model is, and how far in the joined order it has come."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Final

from bandit.core.records import Position

_NAME: Final = re.compile(r"([0-9]{16,})-([0-9]{10,})-[0-9a-f]{8}")


class DamagedSnapshot(ValueError):
    """A snapshot that can't be trusted: altered, incomplete or ahead of the log. It is rebuilt."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot.

    `spec` is the JSON of everything that shaped the model, `state` what the learner keeps beside the weights,
    `summary` the counts of the same fold. `joined` counts the events up to `position`. `model_sha256` is
    empty for a policy without a model; `parent` is the snapshot before it of the same spec, or empty.
    """

    snapshot_id: str
    experiment_id: str
    position: Position
    joined: int
    spec: str
    state: Mapping[str, Any]
    summary: Mapping[str, Any]
    vw_version: str
    model_sha256: str
    parent: str

    def to_json(self) -> str:
        """The manifest as a JSON object that carries its own checksum."""
        # `asdict` would copy all that is in them, which costs more than to write it.
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        body["position"] = list(self.position)
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The manifest that `to_json` wrote. Raises DamagedSnapshot if it was altered."""
        try:
            body = json.loads(text)
            checksum = body.pop("checksum")
            if checksum != _checksum(body):
                raise DamagedSnapshot("the manifest's checksum does not match")
            closing_us, seq = body.pop("position")
            return cls(position=Position(int(closing_us), int(seq)), **body)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise DamagedSnapshot(f"the manifest can't be read: {error}") from error
        except ValueError as error:
            raise DamagedSnapshot(str(error)) from error


def snapshot_id(position: Position, spec_digest: str) -> str:
    """The name of a snapshot: the same log and spec give the same name, later positions sort later."""
    return f"{position.closing_us:016d}-{position.seq:010d}-{spec_digest}"


def position_of(name: str) -> Position | None:
    """The position in a snapshot's name; None for a name that is none."""
    found = _NAME.fullmatch(name)
    return None if found is None else Position(int(found[1]), int(found[2]))


def spec_of(name: str) -> str:
    """The spec digest in a snapshot's name; empty for a name that is none."""
    return name.rpartition("-")[2] if name.count("-") == 2 else ""


def _checksum(body: Mapping[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
