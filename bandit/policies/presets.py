"""The presets by name, and the reading of an experiment's `policy` section: checked by name and range."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bandit.core.experiment import PolicySpec
from bandit.policies import epsilon_greedy, fixed, squarecb, uniform
from bandit.policies.preset import Option, Preset
from bandit.policies.vw import options as vw_options

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {module.PRESET.name: module.PRESET for module in (squarecb, epsilon_greedy, uniform, fixed)}
)
"""Preset name -> preset."""

VW = "vw"
"""The option that takes Vowpal Wabbit arguments as text."""

ORACLE = "oracle"
"""The option that says what predicts: AUTO, or PLAIN."""

AUTO = "auto"
"""Several oracles side by side, of which the one with the best evidence is served."""

PLAIN = "vw"
"""One Vowpal Wabbit regression alone: less to learn, and what `vw` arguments are for."""

Problem = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """A policy section with its defaults filled in. `vw_args` is canonical: equal meanings give equal
    text. `oracle` is AUTO or PLAIN, empty for a preset that doesn't learn.
    """

    preset: Preset
    options: Mapping[str, float]
    variant_id: str
    oracle: str
    vw_args: str


def check(spec: PolicySpec, variant_ids: Sequence[str]) -> list[Problem]:
    """What is wrong with a policy section, as (field, message) pairs; empty if nothing is.

    `variant_ids` is the catalogue, empty if every call brings its own variants. A message tells what is wrong
    and what would be right; it stands behind the field, such as policy.gamma_scale.
    """
    return list(_problems(spec, variant_ids))


def resolve(spec: PolicySpec) -> ResolvedPolicy:
    """The policy that a section describes. Raises ValueError for one that `check` finds problems in."""
    for field, message in _problems(spec, ()):
        raise ValueError(f"{field}: {message}")
    name, rest = _split(spec.preset)
    preset = PRESETS[name]
    written = dict(spec.options)
    if rest and not preset.names_variant:
        written |= _pairs(rest)
    vw = written.pop(VW, None)
    oracle = str(written.pop(ORACLE, AUTO if vw is None else PLAIN)) if preset.learns else ""
    vw_rate, vw_args = vw_options.canonical("" if vw is None else vw)
    if vw_rate is not None:
        written["learning_rate"] = vw_rate
    options = {key: float(written.get(key, option.default)) for key, option in preset.options.items()}
    return ResolvedPolicy(preset, options, rest if preset.names_variant else "", oracle, vw_args)


def _problems(spec: PolicySpec, variant_ids: Sequence[str]) -> Iterator[Problem]:
    name, rest = _split(spec.preset)
    preset = PRESETS.get(name)
    if preset is None:
        yield "policy.preset", f"is {spec.preset[:40]!r}, not a preset; use one of {_known()}"
        return
    beside = dict(spec.options)
    vw = beside.pop(VW, None)
    oracle = beside.pop(ORACLE, None)
    inside: dict[str, float | str] = {}
    if preset.names_variant:
        if not rest:
            yield "policy.preset", f"is {name!r} without a variant; write {name}:ID"
        elif variant_ids and rest not in variant_ids:
            known = ", ".join(variant_ids[:5])
            message = f"names the variant {rest!r}, which is not in the catalogue; use one of {known}"
            yield "policy.preset", message
    elif rest or ":" in spec.preset:
        inside = _pairs(rest)
        if len(inside) != rest.count(",") + 1 or len(inside) != rest.count("="):
            yield "policy.preset", f"is {spec.preset!r}; write {name}:option=number,option=number, each once"
            return
    if ORACLE in inside:
        if oracle is not None:
            yield "policy.oracle", f"stands in the preset {spec.preset!r} too; keep one of them"
        oracle = inside.pop(ORACLE)
    if oracle is not None:
        yield from _oracle_problems(preset, oracle, vw)
    for key, value in beside.items():
        if key in inside:
            yield f"policy.{key}", f"stands in the preset {spec.preset!r} too; keep one of them"
        yield from _option_problems(preset, key, value, f"policy.{key}")
    for key, value in inside.items():
        yield from _option_problems(preset, key, value, "policy.preset")
    if vw is not None:
        yield from _vw_problems(preset, vw, {*beside, *inside})


def _option_problems(preset: Preset, key: str, value: object, field: str) -> Iterator[Problem]:
    option = preset.options.get(key)
    if option is None:
        known = ", ".join([*preset.options, *([ORACLE, VW] if preset.learns else [])])
        right = f"its options are {known}" if known else "it has none: leave it out"
        yield field, f"{key!r} is not an option of {preset.name}; {right}"
    elif not _fits(option, value):
        kind = "a whole number" if option.whole else "a number"
        shown = value if isinstance(value, int | float) else repr(value)
        yield field, f"{key} is {shown}; use {kind} from {option.low:g} to {option.high:g}"


def _oracle_problems(preset: Preset, oracle: object, vw: object) -> Iterator[Problem]:
    if not preset.learns:
        yield "policy.oracle", f"is for presets that learn; {preset.name} does not: leave it out"
    elif oracle not in (AUTO, PLAIN):
        yield "policy.oracle", f"is {oracle!r}; use {AUTO} or {PLAIN}"
    elif oracle == AUTO and vw is not None:
        yield "policy.oracle", f"is {AUTO}, and `vw` arguments are for {PLAIN}; keep one of them"


def _vw_problems(preset: Preset, text: object, written: set[str]) -> Iterator[Problem]:
    if not preset.learns:
        yield "policy.vw", f"is for presets that learn; {preset.name} does not: leave it out"
    elif not isinstance(text, str):
        yield "policy.vw", 'is not text; write arguments in quotes, such as "--interactions UUA"'
    elif message := vw_options.problem(text):
        yield "policy.vw", message
    elif vw_options.canonical(text)[0] is not None and "learning_rate" in written:
        yield "policy.vw", "sets --learning_rate, and so does the option learning_rate; keep one of them"


def _fits(option: Option, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return option.low <= value <= option.high and (not option.whole or value == int(value))


def _split(text: str) -> tuple[str, str]:
    name, _, rest = text.partition(":")
    return name, rest


def _pairs(text: str) -> dict[str, float | str]:
    """The options in a preset's text; one that is not a number stays text, and fails the check of its
    range.
    """
    pairs: dict[str, float | str] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        try:
            pairs[key.strip()] = float(value)
        except ValueError:
            pairs[key.strip()] = value
    return pairs


def _known() -> str:
    return ", ".join(f"{name}:ID" if preset.names_variant else name for name, preset in PRESETS.items())
