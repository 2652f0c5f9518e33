"""JSON Lines: one event a line, complete and in log order, with the fields of `bandit.log.v1` by their names.

Fields that are 0, false or empty are written too, so that every line of a kind has the same ones; bytes are
base64. A decision with a subject has its pseudonym as `subject` at the end. The same log gives the same text.

The lines are the whole log, salts included: `banditd log import` makes the same log of them again, whose
models `banditd verify` finds equal. Who has the salts can compute the draws to come; keep the file as safe as
the data folder.
"""

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from bandit.eventlog.codec import message_of
from bandit.eventlog.log import EventLog


def lines(log: EventLog, experiment_id: str | None = None) -> Iterator[str]:
    """The events of the log, or of one experiment, a line each, without line ends.

    Raises CorruptRecord, LogUnwritable.
    """
    for event in log.events():
        if experiment_id is not None and event.experiment_id != experiment_id:
            continue
        record = MessageToDict(
            message_of(event.kind, event.record),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        row = {
            "seq": event.seq,
            "kind": event.kind,
            "experiment_id": event.experiment_id,
            "decision_id": event.decision_id,
            "at_us": event.at_us,
            "record": _ordered(record),
        }
        if event.subject:
            row["subject"] = event.subject
        yield json.dumps(row, separators=(",", ":"))


def _ordered(value: Any) -> Any:
    # A protobuf map has an order of its own in every process.
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value
