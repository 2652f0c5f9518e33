"""Rows of a Parquet data set -> joined events. See `bandit.eventlog.formats.parquet` for the columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from bandit.core.fields import id_problem
from bandit.core.records import (
    Arm,
    Decision,
    FeatureValue,
    JoinedEvent,
    Outcome,
    Position,
    Source,
    Stage,
    Variant,
)
from bandit.eventlog.formats.features import Flattener, checked_text, checked_texts
from bandit.eventlog.formats.lines import BadLine

VARIANT_LISTS_KEPT: Final = 256


class Decoder:
    """Rows -> events. Rows with the same text in `variants` get the same tuple."""

    def __init__(self, experiment_id: str) -> None:
        self._experiment_id = experiment_id
        self._variants: dict[str, tuple[Variant, ...]] = {}
        self._names = Flattener()

    def event(self, row: Sequence[Any]) -> JoinedEvent:
        """Raises BadLine."""
        try:
            return self._event(*row)
        except BadLine:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadLine("INVALID_ROW", f"has a value that banditd does not write ({error!r})") from error

    def _event(
        self,
        decision_id: str,
        at_us: int,
        closing_us: int,
        seq: int,
        version: int,
        subject: str | None,
        variant_id: str,
        propensity: float,
        reward: float | None,
        outcome: str,
        clamped: bool,
        arm: str,
        source: str,
        stage: str,
        treatment_share: float,
        pdrop: float,
        snapshot_id: str,
        chosen: int,
        variant_ids: list[str],
        distribution: list[float],
        policy_distribution: list[float],
        call_variants: bool,
        context: str,
        variants_json: str,
        metrics: str,
    ) -> JoinedEvent:
        variants = self._variants.get(variants_json)
        if variants is None:
            variants = tuple(
                [
                    Variant(item["id"], self._features(item["features"]))
                    for item in orjson.loads(variants_json)
                ]
            )
            if len(self._variants) >= VARIANT_LISTS_KEPT:
                self._variants.clear()
            self._variants[variants_json] = variants
        if not len(variant_ids) == len(variants) == len(distribution) == len(policy_distribution):
            raise BadLine("INVALID_ROW", "has distributions that are not parallel to its variants")
        if chosen < 0 or variants[chosen].id != variant_id or min(at_us, closing_us, seq) < 0:
            raise BadLine("INVALID_ROW", "has columns that do not go together")
        if problem := id_problem(decision_id):
            raise BadLine("INVALID_ID", f"has a decision_id that {problem}")
        served = distribution[chosen]
        if not (0.0 < served <= 1.0 or math.isnan(served)):
            raise BadLine("PROPENSITY_OUT_OF_RANGE", "has a probability of what was served outside (0, 1]")
        if not (served == propensity or (math.isnan(served) and math.isnan(propensity))):
            raise BadLine("PROPENSITY_MISMATCH", "has a propensity that is not distribution[chosen]")
        if not 0.0 <= pdrop < 1.0:
            raise BadLine("INVALID_PDROP", "has a pdrop that is not in [0, 1)")
        became = Outcome[outcome]
        if (reward is None) != (became is Outcome.UNREWARDED) or (reward is not None and math.isnan(reward)):
            raise BadLine("INVALID_REWARD", "has a reward that does not go with its outcome")
        came_from = Source[source]
        if came_from is Source.FALLBACK:
            raise BadLine("INVALID_ROW", "is a fallback, which no log holds")
        decision = Decision(
            self._experiment_id,
            version,
            decision_id,
            subject or "",
            self._features(_loaded(context)),
            variants,
            call_variants,
            distribution,
            policy_distribution,
            chosen,
            Arm[arm],
            came_from,
            Stage[stage],
            treatment_share,
            snapshot_id,
            pdrop,
        )
        further = {name: float(value) for name, value in _loaded(metrics).items()}
        return JoinedEvent(Position(closing_us, seq), at_us, decision, became, reward, clamped, further)

    def _features(self, written: Mapping[str, Any]) -> dict[str, FeatureValue]:
        features: dict[str, FeatureValue] = {}
        for name, value in written.items():
            kind = type(value)
            if kind is str:
                features[name] = checked_text(value)
            elif kind is float or kind is bool:
                features[name] = value
            elif kind is int:
                features[name] = float(value)
            elif kind is list and all(type(item) is str for item in value):
                features[name] = checked_texts([checked_text(item) for item in value])
            else:
                raise BadLine("INVALID_ROW", "has a feature that is no text, number, flag or list of texts")
        self._names.check_names(features)
        return features


def _loaded(text: str) -> dict[str, Any]:
    value = {} if text == "{}" else orjson.loads(text)
    if type(value) is not dict:
        raise BadLine("INVALID_ROW", "has a context or metrics that are no JSON object")
    return value
