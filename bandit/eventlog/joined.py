"""The joined order read from the log: an index scan instead of a table of open decisions in memory.

What an event is, and when it closes, is `bandit.core.joining`'s; this module only finds the material. It has
no clock: what closes before log time's last stamp can't change any more, whoever reads it and whenever.
"""

from bandit.core.joining import join
from bandit.core.records import JoinedEvent, Position, Variant
from bandit.eventlog.decoding import decode_decision
from bandit.eventlog.log import CorruptRecord, Definition, EventLog


def read_joined(
    log: EventLog, experiment_id: str, after: Position, before_us: int, limit: int
) -> list[JoinedEvent]:
    """The next events of an experiment after `after` that close strictly before `before_us`, in order.

    `before_us` is at most the time of the log's last row: nothing that closes before it can still change.
    There are at most `limit` events, and fewer where decisions are big or were closed earlier by a reward:
    only an empty list says that there are no more. Raises CorruptRecord, LogUnwritable.
    """
    definitions: dict[int, Definition] = {}

    def definition(version: int) -> Definition:
        if version not in definitions:
            definitions[version] = log.definition(experiment_id, version)
        return definitions[version]

    def catalogue(version: int) -> tuple[Variant, ...]:
        return definition(version).catalogue

    events: list[JoinedEvent] = []
    while not events:
        closings = log.closings(experiment_id, after, before_us, limit)
        if not closings:
            return []
        rewards_of = log.rewards_of([entry.decision_id for entry in closings if entry.record is not None])
        for closes_us, seq, decision_id, at_us, subject, record in closings:
            if record is None:
                continue
            decision = decode_decision(experiment_id, decision_id, subject, record, catalogue)
            experiment = definition(decision.version).experiment
            event = join(experiment, decision, seq, at_us, rewards_of.get(decision_id, ()))
            if event.position != (closes_us, seq):
                raise CorruptRecord(
                    f"Decision {decision_id!r} closes at {event.position.closing_us} by the rule of its "
                    f"experiment, but the log has it at {closes_us}. It was altered: run `banditd verify`."
                )
            events.append(event)
        after = Position(closings[-1].closes_us, closings[-1].seq)
    return events


def next_due_us(log: EventLog, experiment_id: str, after: Position) -> int | None:
    """The closing time of the next event after `after`; None if nothing is open.

    When it has passed and nothing newer was written, a Tick lets the event close. If it is ahead of log time
    and rewards have closed very many decisions already, it may be too early, but never too late.
    """
    return log.next_due_us(experiment_id, after)
