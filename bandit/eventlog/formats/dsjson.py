"""dsjson, the log of Vowpal Wabbit, Azure Personalizer and their kin: a decision with its reward a line.

    {"_label_cost":-1.0,"_label_probability":0.8,"_label_Action":2,"_labelIndex":1,
     "o":[{"v":1.0,"EventId":"e1","ActionTaken":false}],"Timestamp":"2020-01-31T23:59:59.0000000Z",
     "Version":"1","EventId":"e1","a":[2,1],"c":{"User":{"age":"old"},"_multi":[{"id":"x"},{"id":"y"}]},
     "p":[0.8,0.2],"VWState":{"m":"model"},"_original_label_cost":-1.0}

`_label_cost` is the negative reward. `a` holds action numbers from 1, the served one first, and `p` their
probabilities; `c._multi` holds the variants, and the rest of `c` the context. Older lines have
`_label_Action` or `_labelIndex` instead of `a`, `_label_probability` or nothing instead of `p`, and no `o`.

Give Vowpal Wabbit `--chain_hash` to read such a file: without it the text "Web" of a feature "channel" hashes
as a name of its own, the same whichever feature has it.

`pdrop` is kept with the event and multiplied into nothing: who averages weighs by 1 / (1 - pdrop), once.
`_original_label_cost`, the cost before an apprentice's label was set, is written but not read. Lines of
several slots and of continuous actions are refused, not misread.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from bandit.core import limits
from bandit.core.fields import id_problem
from bandit.core.records import (
    Arm,
    Decision,
    JoinedEvent,
    Outcome,
    Position,
    Source,
    Stage,
    Variant,
)
from bandit.eventlog.formats import dsjson_extra
from bandit.eventlog.formats.dsjson_drawn import drawn
from bandit.eventlog.formats.dsjson_variants import foreign_variants
from bandit.eventlog.formats.dsjson_writing import lines as lines  # part of this module's interface
from bandit.eventlog.formats.features import Flattener
from bandit.eventlog.formats.lines import BadLine as BadLine  # likewise

VARIANT_LISTS_KEPT: Final = 64
VARIANT_LIST_BYTES_KEPT: Final = 256 * 1024

_MULTI = b'"_multi":'
_AFTER_MULTI = b'},"p":'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # to measure times without a zone, which are UTC by rule
# The arm, source, stage and treatment share of a log that knows of none.
_ORDINARY = (Arm.TREATMENT, Source.LEARNED, Stage.FULL, 1.0)
_NO_TEXTS: dict[str, Any] = {}
# What the constructor of a named tuple does, without its detour.
_new_decision = _new_position = tuple.__new__


class Reader:
    """Reads the lines of one file: each becomes a JoinedEvent of one experiment.

    `position` is (time, line number), or what banditd wrote into a line of its own. `reward` is -_label_cost;
    a line with `_skipLearn` is UNREWARDED, one whose `o` is there but empty is DEFAULTED. The time is that of
    `Timestamp` in UTC, cut to microseconds; one without a zone is taken as UTC and counted in `naive_times`.
    `distribution` holds what the line says, not renormalised, NaN where it says nothing.

    `variants` is the same tuple object in lines that have the same text in `c._multi`, which is then not
    parsed again.
    """

    def __init__(
        self,
        experiment_id: str = "imported",
        reward_range: tuple[float, float] = (0.0, 1.0),
        *,
        signals: bool = True,
    ) -> None:
        """`reward_range` is the one declared: a reward outside makes a line bad.

        Without `signals` the events' contexts are left empty, and what is wrong with them alone makes no line
        bad: a tenth faster, for judges that look at no context.
        """
        self.naive_times = 0
        self._experiment_id = experiment_id
        self._low, self._high = reward_range
        self._signals = signals
        self._flattener = Flattener()
        # The text of `c._multi` -> what it gives, and whether in a line of banditd's own.
        self._kept: dict[bytes, tuple[tuple[Variant, ...], bool]] = {}
        self._last_kept: tuple[tuple[Variant, ...], bool] | None = None
        self._last_cut = b""
        self._last_multi: tuple[Any, bool] = (None, False)
        self._last_variants: tuple[Variant, ...] = ()
        self._met: set[int] = set()

    def event(self, line: bytes, number: int) -> JoinedEvent:
        """The event of a line. Raises BadLine."""
        # Millions of lines come by here, so the ordinary line takes few steps and fewer calls.
        try:
            document, variants = self._parsed(line)
        except orjson.JSONDecodeError as error:
            raise _why(line, error) from None
        if type(document) is not dict:
            raise BadLine("NOT_A_DECISION", "is not a JSON object")
        get = document.get
        context = get("c")
        if (
            type(context) is not dict
            or "_multi" not in context
            or "_slots" in context
            or "_outcomes" in document
        ):
            raise _another_kind(document, context)
        event_id = get("EventId")
        if type(event_id) is not str or not event_id:
            raise BadLine("MISSING_ID", "has no EventId")
        if not (len(event_id) <= limits.ID_BYTES and event_id.isascii() and event_id.isprintable()):
            _check_id(event_id)
        at_us = self._time(get("Timestamp"))
        if variants is None:
            variants = self._variants(line, context)
        chosen, distribution = drawn(document, len(variants))
        pdrop = 0.0 if "pdrop" not in document else _pdrop(document["pdrop"])
        if get("_skipLearn", False):
            reward, outcome = None, Outcome.UNREWARDED
        else:
            reward = self._reward(get("_label_cost"))
            outcome = Outcome.DEFAULTED if get("o") == [] else Outcome.REWARDED
        state = get("VWState")
        snapshot_id = state.get("m") if type(state) is dict else ""
        if type(snapshot_id) is not str or len(snapshot_id) > limits.TEXT_BYTES:
            snapshot_id = ""
        experiment_id = self._experiment_id
        marked = context.get(dsjson_extra.MARK)
        if marked is None:
            del context["_multi"]
            signals = self._flattener.features(context, limits.CONTEXT_ENTRIES) if self._signals else {}
            head = (
                experiment_id,
                1,
                event_id,
                "",
                signals,
                variants,
                True,
                distribution,
                distribution,
                chosen,
            )
            decision = _new_decision(Decision, (*head, *_ORDINARY, snapshot_id, pdrop))
            position = _new_position(Position, (at_us, number))
            return JoinedEvent(position, at_us, decision, outcome, reward, False, {})
        extra = dsjson_extra.read(marked)
        policy = distribution if extra.policy is None else extra.policy
        if len(policy) != len(variants) or (reward is None) != (extra.outcome is Outcome.UNREWARDED):
            raise BadLine("INVALID_EXTRA", f"has a c.{dsjson_extra.MARK} that does not go with the line")
        signals = dsjson_extra.read_features(
            context.get(dsjson_extra.CONTEXT), marked.get("texts", _NO_TEXTS), limits.CONTEXT_ENTRIES
        )
        self._flattener.check_names(signals)
        head = (
            experiment_id,
            1,
            event_id,
            extra.subject,
            signals,
            variants,
            True,
            distribution,
            policy,
            chosen,
        )
        arm = (extra.arm, extra.source, extra.stage, extra.treatment_share)
        decision = _new_decision(Decision, (*head, *arm, snapshot_id, pdrop))
        position = Position(extra.closing_us, extra.seq)
        return JoinedEvent(position, at_us, decision, extra.outcome, reward, extra.clamped, extra.metrics)

    def _parsed(self, line: bytes) -> tuple[Any, tuple[Variant, ...] | None]:
        """The line's JSON, and its variants if their text is one that was read before.

        That text is then replaced by a 0 before the line is parsed. That the 0 is what `c._multi` came to
        proves that the text stood there, and nowhere else.
        """
        start = line.find(_MULTI)
        if start > 0 and self._kept:
            start += len(_MULTI)
            cut = self._last_cut
            if cut and line.startswith(cut, start):
                kept = self._last_kept
            else:
                cut = line[start : line.find(_AFTER_MULTI, start)]
                kept = self._kept.get(cut)
            if kept is not None:
                document = orjson.loads(b"%b0%b" % (line[:start], line[start + len(cut) :]))
                context = document.get("c") if type(document) is dict else None
                if type(context) is dict and context.get("_multi") == 0:
                    variants, marked = kept
                    if (dsjson_extra.MARK in context) is marked:
                        self._last_cut, self._last_kept = cut, kept
                        return document, variants
        return orjson.loads(line), None

    def _variants(self, line: bytes, context: dict[str, Any]) -> tuple[Variant, ...]:
        """The variants of a line whose text was not met before, or not where it would be looked for."""
        multi, marked = context["_multi"], dsjson_extra.MARK in context
        start = line.find(_MULTI) + len(_MULTI)
        end = line.find(_AFTER_MULTI, start)
        if (multi, marked) == self._last_multi:
            # Most likely they come once more.
            variants = self._last_variants
            self._keep(line[start:end] if end > 0 else _first_value(line[start:]), multi, variants, marked)
            return variants
        variants = self._built(multi, marked)
        self._last_multi, self._last_variants = (multi, marked), variants
        # A text that was met before, with others in between, is kept from now on.
        met = hash(line[start:end]) if end > 0 else 0
        if met in self._met:
            self._keep(line[start:end], multi, variants, marked)
        elif met:
            if len(self._met) >= 64 * VARIANT_LISTS_KEPT:
                self._met.clear()
            self._met.add(met)
        return variants

    def _built(self, multi: Any, marked: bool) -> tuple[Variant, ...]:
        if type(multi) is not list or not multi:
            raise BadLine("NO_VARIANTS", "has no list of variants in c._multi")
        if len(multi) > limits.VARIANTS:
            raise BadLine(
                "LIMIT_EXCEEDED", f"has {len(multi)} variants; at most {limits.VARIANTS} are allowed"
            )
        if {*map(type, multi)} != {dict}:
            raise BadLine("INVALID_VARIANT", "has a variant in c._multi that is not an object")
        if marked:
            variants = tuple([dsjson_extra.read_variant(item) for item in multi])
        else:
            variants = foreign_variants(multi, self._flattener)
        ids = [variant.id for variant in variants]
        if len({*ids}) < len(ids):
            raise BadLine("DUPLICATE_VARIANT_ID", "has two variants of the same id")
        text = "".join(ids)
        if not (text.isascii() and text.isprintable() and max(map(len, ids)) <= limits.ID_BYTES and all(ids)):
            for problem in filter(None, map(id_problem, ids)):
                raise BadLine("INVALID_VARIANT", f"has a variant whose id {problem}")
        return variants

    def _keep(self, cut: bytes, multi: Any, variants: tuple[Variant, ...], marked: bool) -> None:
        """From now on `cut` gives `variants`, if it is the text of `multi` indeed."""
        try:
            if not cut or len(cut) > VARIANT_LIST_BYTES_KEPT or orjson.loads(cut) != multi:
                return
        except orjson.JSONDecodeError:
            return
        if len(self._kept) >= VARIANT_LISTS_KEPT:
            self._kept.clear()
        self._last_cut, self._last_kept = cut, (variants, marked)
        self._kept[cut] = self._last_kept

    def _time(self, text: Any) -> int:
        if type(text) is not str:
            raise BadLine("MISSING_TIMESTAMP", "has no Timestamp")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise BadLine("INVALID_TIMESTAMP", "has a Timestamp that is not an ISO 8601 time") from None
        if moment.tzinfo is None:
            self.naive_times += 1
            since = moment - _EPOCH_NAIVE
        else:
            since = moment - _EPOCH
        at_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if at_us < 0:
            raise BadLine("INVALID_TIMESTAMP", "has a Timestamp before 1970")
        return at_us

    def _reward(self, cost: Any) -> float:
        if type(cost) is not float and type(cost) is not int:
            if cost is None:
                raise BadLine("MISSING_REWARD", "has no _label_cost")
            raise BadLine("INVALID_REWARD", "has a _label_cost that is not a number")
        reward = 0.0 - cost  # never -0.0
        if not self._low <= reward <= self._high:
            raise BadLine(
                "REWARD_OUT_OF_RANGE",
                f"has a reward outside the declared range [{self._low:g}, {self._high:g}]",
            )
        return reward


def _first_value(text: bytes) -> bytes:
    """The text of the JSON value that `text` begins with, in whatever layout; slow."""
    try:
        decoded = text.decode()
        lead = len(decoded) - len(decoded.lstrip())
        return decoded[: json.JSONDecoder().raw_decode(decoded, lead)[1]].encode()
    except ValueError:
        return b""


def _check_id(event_id: str) -> None:
    if problem := id_problem(event_id):
        raise BadLine("INVALID_ID", f"has an EventId that {problem}")


def _pdrop(value: Any) -> float:
    if (type(value) is not float and type(value) is not int) or not 0.0 <= value < 1.0:
        raise BadLine("INVALID_PDROP", "has a pdrop that is not in [0, 1)")
    return float(value)


def _another_kind(document: dict[str, Any], context: Any) -> BadLine:
    """Why a line is no decision with one action among several."""
    if "RewardValue" in document:
        return BadLine("DANGLING_REWARD", "is a reward whose decision the log does not have")
    if "_outcomes" in document or (type(context) is dict and "_slots" in context):
        return BadLine("CCB_OR_SLATES", "is a decision of several slots, which banditd does not have")
    if "_label_ca" in document:
        return BadLine(
            "CONTINUOUS_ACTION", "is a decision of a continuous action, which banditd does not have"
        )
    return BadLine("NOT_A_DECISION", "has no context c with variants in c._multi")


def _why(line: bytes, error: orjson.JSONDecodeError) -> BadLine:
    """What is wrong with a line that is not JSON."""
    if "end of data" in str(error):
        return BadLine("TRUNCATED_LINE", "ends in the middle: the file was cut off here, or is still written")
    try:
        # The standard library takes NaN and Infinity, which are not JSON but which Python and others write.
        document = json.loads(line)
        numbers = [document.get("_label_probability"), *(document.get("p") or [])]
        if any(type(number) is float and not 0.0 <= number <= 1.0 for number in numbers):
            return BadLine("PROPENSITY_OUT_OF_RANGE", "has a probability that is not in [0, 1]")
        if type(cost := document.get("_label_cost")) is float and not abs(cost) < float("inf"):
            return BadLine("INVALID_REWARD", "has a _label_cost that is not finite")
    except (AttributeError, TypeError, ValueError, RecursionError):
        pass
    return BadLine("INVALID_JSON", "is not JSON")
