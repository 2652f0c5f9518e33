"""An experiment as data: one decision point with its variants, signals, reward rule, policy and rollout.

These models say what a definition may be. They read no files (see `bandit.experiment_file`) and know no
policy (see `bandit.policies.presets`, which checks `policy`). Rules about two fields are checked at the
second of them, so that an error names the field to change.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bandit.core import limits
from bandit.core.fields import (
    FeatureMap,
    Identifier,
    Number,
    Owner,
    Payload,
    Range,
    RewardRange,
    RolloutStage,
    SnapshotId,
    WindowUs,
    finite_number,
    payload_json,
    wrong_at,
)
from bandit.core.fields import id_problem as id_problem  # part of this module's interface
from bandit.core.records import Stage, Variant

Aggregate = Literal["first", "sum", "mean", "max", "min", "last"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rollout(_Frozen):
    """Who gets the policy's choice: `percent` of subjects in treatment, `holdout_percent` never."""

    stage: RolloutStage = Stage.FULL
    percent: Annotated[Number, Field(ge=0, le=100)] = 100.0
    holdout_percent: Annotated[Number, Field(ge=0, le=100)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _full_leaves_room(cls, data: Any) -> Any:
        # `full` means all but the holdout: a percent that was not written follows from it.
        if isinstance(data, dict) and "percent" not in data and "holdout_percent" in data:
            holdout = data["holdout_percent"]
            if isinstance(holdout, int | float) and 0 <= holdout <= 100:
                return {**data, "percent": 100.0 - holdout}
        return data

    @field_validator("holdout_percent")
    @classmethod
    def _shares_fit(cls, holdout: float, info: ValidationInfo) -> float:
        percent = info.data.get("percent", 0.0)
        if percent + holdout > 100:
            raise ValueError(f"is {holdout:g}, over 100 together with percent {percent:g}; lower one of them")
        return holdout


class Signal(_Frozen):
    """One declared context feature. `range` and `values` only clamp, unless `strict`."""

    type: Literal["number", "category", "flag", "categories"]
    range: Range | None = None
    values: tuple[str, ...] | None = None
    purpose: str = ""
    consent: Identifier | None = None
    strict: bool = False

    @field_validator("range", mode="before")
    @classmethod
    def _range_is_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("type", "number")
        if value is not None and kind != "number":
            raise ValueError(f"is for type: number; a signal of type: {kind} has no range")
        return value

    @field_validator("values", mode="before")
    @classmethod
    def _values_are_for_categories(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        kind = info.data.get("type", "category")
        if kind not in ("category", "categories"):
            raise ValueError(f"is for type: category or categories; a signal of type: {kind} has no values")
        if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
            raise ValueError("is not a list of texts; write [a, b] and put quotes around numbers and yes/no")
        if len(value) > limits.SIGNAL_VALUES:
            raise ValueError(f"has {len(value)} values; at most {limits.SIGNAL_VALUES} are allowed")
        for index, text in enumerate(value):
            size = len(text.encode())
            if size > limits.TEXT_BYTES:
                raise wrong_at(f"has {size} bytes; at most {limits.TEXT_BYTES} are allowed", index)
        return tuple(value)


class RewardRule(_Frozen):
    """How rewards become one number a decision, and when a decision closes."""

    metric: Identifier
    range: RewardRange = (0.0, 1.0)
    window_us: Annotated[WindowUs, Field(alias="window")] = 600_000_000
    default: Number | Literal["none"] = Field(default=0.0, validate_default=True)
    aggregate: Aggregate = "first"
    learn: Literal["at_close", "on_reward"] = "at_close"

    @field_validator("default", mode="before")
    @classmethod
    def _default(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "none":
            return value
        if value is None or isinstance(value, str):
            raise ValueError(
                "is not a number; write a number, without quotes, or none to leave such decisions out"
            )
        number = finite_number(value)
        low, high = info.data.get("range", (number, number))
        if not low <= number <= high:
            raise ValueError(f"is {number:g}, outside range [{low:g}, {high:g}]; write one inside, or none")
        return number

    @field_validator("learn")
    @classmethod
    def _on_reward_takes_the_first(cls, learn: str, info: ValidationInfo) -> str:
        aggregate = info.data.get("aggregate", "first")
        if learn == "on_reward" and aggregate != "first":
            raise ValueError(
                "is on_reward, which closes a decision at its first reward, so there is nothing for "
                f"aggregate: {aggregate}; write aggregate: first, or learn: at_close"
            )
        return learn

    @property
    def default_value(self) -> float | None:
        """The reward of a decision that got none, or None if such decisions are left out."""
        return None if self.default == "none" else self.default


class Guardrail(_Frozen):
    """A secondary metric that must not get worse by more than `tolerance` (in the metric's own unit)."""

    worse: Literal["higher", "lower"]
    tolerance: Annotated[Number, Field(ge=0)] = 0.0


class Metric(_Frozen):
    """A secondary metric: reported by Reward with its name, joined until its decision's window ends,
    whatever `learn` says."""

    range: RewardRange
    aggregate: Aggregate = "first"
    guardrail: Guardrail | None = None


class PolicySpec(BaseModel):
    """Which policy chooses: a preset's name, the floor of exploration, and the preset's own options.

    `snapshot` pins what is served to a stored snapshot, of whichever policy; without it the one that has come
    furthest serves. It shapes no model: what is learned is the same with and without it.

    Options stand beside `preset` in the file; `bandit.policies.presets` checks them by name and range. Here
    they are only held to be plain values, so that a definition can be stored.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    preset: str = "squarecb"
    floor: Annotated[Number, Field(ge=0, le=1)] = 0.01
    snapshot: SnapshotId | None = None

    @model_validator(mode="before")
    @classmethod
    def _options_are_plain(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            if name in cls.model_fields or isinstance(value, bool | str):
                continue
            try:
                finite_number(value)
            except ValueError:
                raise wrong_at("is not a plain value; write a finite number or a text", str(name)) from None
        return data

    @property
    def options(self) -> dict[str, Any]:
        """The options that were written, by name."""
        return dict(self.__pydantic_extra__ or {})


class CatalogueVariant(_Frozen):
    """A variant of the catalogue; `payload` is any JSON value that travels back to the caller."""

    id: Identifier
    features: FeatureMap = Field(default_factory=dict)
    payload: Payload = None

    def variant(self) -> Variant:
        """The variant as the core knows it."""
        return Variant(self.id, self.features, payload_json(self.payload))


def _signals_shape(value: object) -> object:
    if value != "open" and not isinstance(value, dict):
        raise ValueError("is not a mapping; write {name: {type: number}}, {} for none, or open")
    return value


Signals = Annotated[
    Annotated[dict[Identifier, Signal], Tag("declared")] | Annotated[Literal["open"], Tag("open")],
    Discriminator(lambda value: "open" if value == "open" else "declared"),
    BeforeValidator(_signals_shape),
]


class Experiment(_Frozen):
    """One decision point. `signals` is "open" for prototypes: types then follow the values sent."""

    id: Identifier
    owner: Owner
    hypothesis: str = ""
    variants: tuple[CatalogueVariant, ...]
    baseline: str = Field(default="", validate_default=True)
    signals: Signals = Field(default_factory=dict)
    reward: RewardRule
    metrics: dict[Identifier, Metric] = Field(default_factory=dict)
    policy: PolicySpec = Field(default_factory=PolicySpec)
    on_log_failure: Literal["baseline", "fail"] = "baseline"
    rollout: Rollout = Field(default_factory=Rollout)

    @field_validator("variants", mode="before")
    @classmethod
    def _variants_shape(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("is not a list; write [{id: a}, {id: b}], or [] if every call brings its own")
        if len(value) > limits.VARIANTS:
            raise ValueError(f"has {len(value)} variants; at most {limits.VARIANTS} are allowed")
        return tuple(value)

    @field_validator("variants")
    @classmethod
    def _variant_ids_are_unique(cls, variants: tuple[CatalogueVariant, ...]) -> tuple[CatalogueVariant, ...]:
        seen: set[str] = set()
        for index, variant in enumerate(variants):
            if variant.id in seen:
                raise wrong_at(f"is {variant.id!r}, which an earlier variant has; rename one", index, "id")
            seen.add(variant.id)
        return variants

    @field_validator("baseline")
    @classmethod
    def _baseline_is_a_variant(cls, baseline: str, info: ValidationInfo) -> str:
        ids = [variant.id for variant in info.data.get("variants", ())]
        if ids and baseline not in ids:
            what = f"is {baseline!r}, which is not a variant" if baseline else "is missing"
            raise ValueError(f"{what}; name one of the variants: {', '.join(ids[:5])}")
        return baseline

    @field_validator("signals")
    @classmethod
    def _signals_fit_a_call(cls, signals: Any) -> Any:
        if isinstance(signals, dict) and len(signals) > limits.CONTEXT_ENTRIES:
            raise ValueError(f"has {len(signals)} signals; at most {limits.CONTEXT_ENTRIES} fit a call")
        return signals

    @field_validator("metrics")
    @classmethod
    def _metrics_are_secondary(cls, metrics: dict[str, Metric], info: ValidationInfo) -> dict[str, Metric]:
        rule = info.data.get("reward")
        if rule is not None and rule.metric in metrics:
            raise wrong_at("is the name of reward.metric; a secondary metric needs another", rule.metric)
        if len(metrics) > limits.METRICS:
            raise ValueError(f"has {len(metrics)} metrics; at most {limits.METRICS} are allowed")
        return metrics

    def catalogue(self) -> tuple[Variant, ...]:
        """The catalogue as the core knows it."""
        return tuple(variant.variant() for variant in self.variants)

    def canonical_json(self) -> str:
        """The definition with its defaults written out; equal definitions give equal text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """The definition that `canonical_json` wrote. Raises pydantic.ValidationError if it was altered."""
        return cls.model_validate(json.loads(text))
