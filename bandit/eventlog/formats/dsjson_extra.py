"""What banditd writes into a dsjson line beyond the field's own format, so that nothing is lost on the way.

A line of banditd's own has `c._banditd`. Vowpal Wabbit passes over it, as over any unknown name with `_`. In
such a line

    c.U                 the signals: an object, or a list of two where there are lists of texts
    c._multi[i]._tag    the variant's id, also as the feature `id` of namespace A
    c._multi[i].F       the variant's features, like U
    c._banditd          what the event was (below), and under `texts` its lists of texts

Vowpal Wabbit takes no lists of texts, so it reads each text as a feature `name+text` from the second object
of U or F; banditd reads `texts`, or `_texts` of a variant. A name that begins with `_` (Vowpal Wabbit's
syntax) or with `%` gets a `%` in front.

Of what the event was, each part is left out where it is the ordinary one: `closing_us`, `seq`, `outcome`,
`subject`, `arm` (TREATMENT), `source` (LEARNED), `stage` (FULL), `treatment_share` (1), `policy` (the served
distribution), `clamped` (false), `metrics` (none).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bandit.core import limits
from bandit.core.records import Arm, Features, FeatureValue, JoinedEvent, Outcome, Source, Stage, Variant
from bandit.eventlog.formats.features import checked_name, checked_text, checked_texts
from bandit.eventlog.formats.lines import BadLine

MARK: Final = "_banditd"
CONTEXT: Final = "U"
VARIANT_ID: Final = "A"
VARIANT_FEATURES: Final = "F"

_SHORT = limits.TEXT_BYTES // 4


class Extra(NamedTuple):
    """What `c._banditd` says of an event. `policy` is None where it is the served distribution."""

    closing_us: int
    seq: int
    outcome: Outcome
    subject: str
    arm: Arm
    source: Source
    stage: Stage
    treatment_share: float
    policy: list[float] | None
    clamped: bool
    metrics: dict[str, float]


def written(event: JoinedEvent) -> dict[str, Any]:
    """`c._banditd` of an event, without `texts`."""
    decision = event.decision
    extra: dict[str, Any] = {
        "closing_us": event.position.closing_us,
        "seq": event.position.seq,
        "outcome": event.outcome.name,
    }
    if decision.subject:
        extra["subject"] = decision.subject
    if decision.arm is not Arm.TREATMENT:
        extra["arm"] = decision.arm.name
    if decision.source is not Source.LEARNED:
        extra["source"] = decision.source.name
    if decision.stage is not Stage.FULL:
        extra["stage"] = decision.stage.name
    if decision.treatment_share != 1.0:
        extra["treatment_share"] = decision.treatment_share
    policy = list(decision.policy_distribution)
    # A NaN, which JSON can't write, differs from itself: it is where the served one has it too.
    if policy != list(decision.distribution) and sum(policy) == sum(policy):
        extra["policy"] = policy
    if event.clamped:
        extra["clamped"] = True
    if event.metrics:
        extra["metrics"] = dict(event.metrics)
    return extra


def read(extra: Any) -> Extra:
    """What `written` wrote. Raises BadLine."""
    try:
        policy = extra.get("policy")
        return Extra(
            _whole(extra["closing_us"]),
            _whole(extra["seq"]),
            Outcome[extra["outcome"]],
            _subject(extra.get("subject", "")),
            Arm[extra.get("arm", "TREATMENT")],
            _source(extra.get("source", "LEARNED")),
            Stage[extra.get("stage", "FULL")],
            _share(extra.get("treatment_share", 1.0)),
            None if policy is None else [_share(item) for item in policy],
            extra.get("clamped", False) is True,
            {checked_name(name): _number(value) for name, value in extra.get("metrics", {}).items()},
        )
    except BadLine:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadLine("INVALID_EXTRA", f"has a c.{MARK} that banditd does not write") from error


def written_features(features: Features) -> tuple[dict[str, Any] | list[dict[str, Any]], dict[str, Any]]:
    """(what Vowpal Wabbit reads of the features, the lists of texts)."""
    plain: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for name in sorted(features):
        value = features[name]
        if type(value) is tuple:
            texts[name] = list(value)
        else:
            plain[_escaped(name)] = value
    if not texts:
        return plain, texts
    tokens = {_escaped(f"{name}+{text}"): True for name, items in texts.items() for text in items}
    return [plain, tokens], texts


def read_features(written: Any, texts: Any, entries_max: int) -> dict[str, FeatureValue]:
    """What `written_features` wrote; a number may have lost its point on the way. Raises BadLine."""
    plain = written[0] if type(written) is list and written else written
    if type(plain) is not dict or type(texts) is not dict:
        raise BadLine("INVALID_EXTRA", f"has {MARK}, but not the features that banditd writes")
    features: dict[str, FeatureValue] = {}
    for name, value in plain.items():
        kind = type(value)
        if name[:1] == "%":
            name = name[1:]
        if kind is str:
            features[name] = value if len(value) <= _SHORT else checked_text(value)
        elif kind is float or kind is bool:
            features[name] = value
        elif kind is int:
            features[name] = float(value)
        else:
            raise BadLine("INVALID_EXTRA", f"has {MARK}, but a feature of no type that banditd writes")
    for name, items in texts.items():
        if type(items) is not list or not all(type(item) is str for item in items):
            raise BadLine("INVALID_EXTRA", f"has {MARK}, but its lists of texts are not that")
        features[name] = checked_texts([checked_text(item) for item in items])
    if len(features) > entries_max:
        raise BadLine("LIMIT_EXCEEDED", f"has {len(features)} features; at most {entries_max} are allowed")
    return features


def written_variant(variant: Variant) -> dict[str, Any]:
    """A variant's entry in `c._multi`."""
    item: dict[str, Any] = {"_tag": variant.id, VARIANT_ID: {"id": variant.id}}
    if variant.features:
        item[VARIANT_FEATURES], texts = written_features(variant.features)
        if texts:
            item["_texts"] = texts
    return item


def read_variant(item: Mapping[str, Any]) -> Variant:
    """What `written_variant` wrote. Raises BadLine."""
    variant_id = item.get("_tag")
    if type(variant_id) is not str:
        raise BadLine("INVALID_EXTRA", f"has {MARK}, but a variant without a _tag")
    features = read_features(
        item.get(VARIANT_FEATURES, {}), item.get("_texts", {}), limits.FEATURES_PER_VARIANT
    )
    for name in features:
        checked_name(name)
    return Variant(variant_id, features)


def _escaped(name: str) -> str:
    return f"%{name}" if name[:1] in ("_", "%") else name


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise ValueError
    return float(value)


def _share(value: Any) -> float:
    share = _number(value)
    if not 0.0 <= share <= 1.0:
        raise ValueError
    return share


def _source(name: Any) -> Source:
    source = Source[name]
    if source is Source.FALLBACK:  # never logged
        raise ValueError
    return source


def _subject(value: Any) -> str:
    if type(value) is not str or len(value) > limits.SUBJECT_BYTES:
        raise ValueError
    return value
