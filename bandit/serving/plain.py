"""What most calls are: sound, with nothing to clamp. One look at each field finds that out.

Refuses nothing: what is the matter with any other call, `bandit.serving.convert` and `bandit.core.signals`
tell, in their order. Nor is every call plain that they take as it is: long or empty texts are rare.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from bandit.core import limits
from bandit.core.checks import name_problem
from bandit.core.fields import id_problem
from bandit.core.limits import TEXT_CHARACTERS_SAFE
from bandit.core.records import Features, FeatureValue
from bandit.core.signals import Rule
from bandit.v1 import bandit_pb2 as pb

_SUBJECT_CHARACTERS_SAFE: Final = limits.SUBJECT_BYTES // limits.CHARACTER_BYTES

_NONE: Final[frozenset[str]] = frozenset()


class PlainCall(NamedTuple):
    """A call among the catalogue, of which nothing is refused and nothing clamped."""

    decision_id: str
    subject_id: str
    context: Features
    excluded: frozenset[str]


def plain_call(request: pb.ChooseRequest, rules: Mapping[str, Rule]) -> PlainCall | None:
    """The call to an experiment with such signals, if it is plain."""
    decision_id = request.decision_id
    subject_id = request.subject_id
    if request.variants or len(subject_id) > _SUBJECT_CHARACTERS_SAFE:
        return None
    if decision_id and id_problem(decision_id):
        return None
    excluded, consents = request.excluded_variant_ids, request.consents
    if excluded and (len(excluded) > limits.EXCLUDED_VARIANTS or any(map(name_problem, excluded))):
        return None
    if consents and (len(consents) > limits.CONSENTS or any(map(name_problem, consents))):
        return None
    context = _plain_context(request.context, rules, frozenset(consents) if consents else _NONE)
    if context is None:
        return None
    return PlainCall(decision_id, subject_id, context, frozenset(excluded) if excluded else _NONE)


def _plain_context(
    entries: Mapping[str, pb.FeatureValue], rules: Mapping[str, Rule], consents: frozenset[str]
) -> Features | None:
    """The signals that may be used and logged.

    Those that are declared are few enough for a call, and their names are sound.
    """
    context: dict[str, FeatureValue] = {}
    value: FeatureValue
    for name in entries:
        rule = rules.get(name)
        if rule is None:
            return None
        entry, kind = entries[name], rule.kind
        # What isn't set reads as 0, False or empty.
        if kind is float:
            value = entry.number
            if not (rule.low <= value <= rule.high and (value or entry.HasField("number"))):
                return None
        elif kind is str:
            value, values = entry.text, rule.values
            if not 0 < len(value) <= TEXT_CHARACTERS_SAFE or (values is not None and value not in values):
                return None
        elif kind is bool:
            value = entry.flag
            if not value and not entry.HasField("flag"):
                return None
        else:
            value = texts = tuple(entry.texts.values)
            values = rule.values
            if not 0 < len(texts) <= limits.TEXTS_VALUES or max(map(len, texts)) > TEXT_CHARACTERS_SAFE:
                return None
            if values is not None and not values.issuperset(texts):
                return None
        # Only now, since limits hold for what is dropped, too.
        if rule.consent is None or rule.consent in consents:
            context[name] = value
    return context
