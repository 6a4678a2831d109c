"""What a visitor can set for the next reply: names, bounds, and the settings they mean.

A panel is a mapping of plain values by the names of `DEFAULTS`, as it lies in the browser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from attribute_models.lexicon import shipped_lists
from chatbot.controls import Controls, Schedule
from chatbot.errors import ChatbotError, InputError
from chatbot.policy import SHIPPED, read_rules
from chatbot.presets import Preset
from chatbot.types import MAX_CANDIDATES, MAX_NEW_TOKENS, Ranking, Sampling
from ui.turns import Settings

MOODS = (
    "joy", "surprise", "anger", "sadness", "fear", "disgust", "positive", "negative", "neutral",
)  # fmt: skip
"""Attributes with a slider of their own."""

ONE_SIDED = ("neutral",)
"""Of these, the ones that cannot be asked for less than by nature."""

MODES = ("hidden", "layers", "pplm")

FEEDBACK = 0.5
"""What the switch of the closed loop sets."""

# Their words are there to notice a topic, not to lead to it.
_NOT_OFFERED = {"crime", "disapproval", "politics", "race", "religion", "sexual"}

_SAMPLING, _RANKING = Sampling(), Ranking()

NUMBERS: dict[str, tuple[float, float, float, float]] = {
    # name: (default, least, most, step)
    "candidates": (_SAMPLING.candidates, 1, MAX_CANDIDATES, 1),
    "temperature": (_SAMPLING.temperature, 0, 2, 0.01),
    "top_k": (_SAMPLING.top_k, 0, 1000, 1),
    "top_p": (_SAMPLING.top_p, 0.01, 1, 0.01),
    "max_new_tokens": (_SAMPLING.max_new_tokens, 1, MAX_NEW_TOKENS, 1),
    "coherence": (_RANKING.coherence, 0, 3, 0.05),
    "novelty": (_RANKING.novelty, 0, 2, 0.05),
}
TOPIC_STRENGTH = 0.5

Panel = Mapping[str, Any]
"""Values by the names of `DEFAULTS`: numbers for `MOODS`, `NUMBERS` and "topic_strength"; lists
"topics" and "rules" (those that are on); "seed" as typed; "mode"; "feedback", true or false;
"schedule" and "base" as JSON, a `Schedule` and what a `Preset` holds beyond the panel."""


@cache
def topics() -> tuple[str, ...]:
    """Attributes that are chosen as topics, all at one strength."""
    return tuple(name for name in shipped_lists() if name not in _NOT_OFFERED | set(MOODS))


@cache
def rules() -> tuple[str, ...]:
    """Names of the shipped topic rules that are on."""
    return tuple(rule.name for rule in read_rules(SHIPPED) if rule.is_on)


def defaults() -> dict[str, Any]:
    """The panel that asks for nothing."""
    numbers = {name: value for name, (value, *_) in NUMBERS.items()}
    return {
        "topics": [], "topic_strength": TOPIC_STRENGTH, **dict.fromkeys(MOODS, 0), **numbers,
        "seed": "", "mode": "hidden", "feedback": False, "rules": list(rules()),
        "schedule": "", "base": "",
    }  # fmt: skip


def read_panel(panel: Panel) -> Settings:
    """The settings that the values mean.

    Raises:
        InputError: one is no number or out of its range.
    """
    for name in (*MOODS, "topic_strength", *NUMBERS):
        if isinstance(panel[name], bool) or not isinstance(panel[name], int | float):
            raise InputError(f"{name} is {panel[name]!r:.50}; give a number")
    sampling = Sampling(
        candidates=int(panel["candidates"]),
        temperature=float(panel["temperature"]),
        top_k=int(panel["top_k"]),
        top_p=float(panel["top_p"]),
        max_new_tokens=int(panel["max_new_tokens"]),
    )
    base = read_base(panel)
    ranking = replace(
        base.ranking or Ranking(),
        coherence=float(panel["coherence"]),
        novelty=float(panel["novelty"]),
    )
    return Settings(_controls(panel, base.controls), sampling, ranking, _seed(panel["seed"]))


def _controls(panel: Panel, base: Controls) -> Controls:
    schedule = read_schedule(panel)
    strengths = {name: float(panel[name]) for name in MOODS}
    strengths |= dict.fromkeys(_chosen(panel["topics"]), float(panel["topic_strength"]))
    strengths = {name: strength for name, strength in strengths.items() if strength}
    asked = {**base.strengths, **strengths}
    on = [name for name in panel["rules"] if isinstance(name, str)]
    return replace(
        base,
        strengths={name: s for name, s in asked.items() if name not in schedule.curves},
        schedule=schedule if schedule.curves else None,
        mode=panel["mode"],
        gradient=None if panel["mode"] == "hidden" else base.gradient,
        feedback=(base.feedback or FEEDBACK) if panel["feedback"] else 0.0,
        rules_off=tuple(name for name in rules() if name not in on),
    )


def read_schedule(panel: Panel) -> Schedule:
    """The schedule of the panel, perhaps of no attribute."""
    return Schedule.from_json(panel["schedule"]) if panel["schedule"] else Schedule({})


def read_base(panel: Panel) -> Preset:
    """What came with a preset and has no place in the panel."""
    return Preset.from_json(panel["base"]) if panel["base"] else Preset("unnamed", Controls())


def as_preset(panel: Panel, name: str) -> Preset:
    """The panel under a name.

    Raises:
        InputError: the name or a value cannot be used.
    """
    settings = read_panel(panel)
    return Preset(name, settings.controls, settings.sampling, settings.ranking)


def with_preset(panel: Panel, preset: Preset) -> dict[str, Any]:
    """The panel as a preset sets it; sampling and ranking stay where it says nothing of them."""
    left = dict(preset.controls.strengths)
    values = {**defaults(), **{name: panel[name] for name in (*NUMBERS, "seed")}}
    for name in MOODS:
        if name in left and not (name in ONE_SIDED and left[name] < 0):
            values[name] = left.pop(name)
    chosen = [name for name in topics() if left.get(name)]
    if chosen:
        strength = left[chosen[0]]
        values["topic_strength"] = strength
        values["topics"] = [name for name in chosen if left[name] == strength]
        left = {name: value for name, value in left.items() if name not in values["topics"]}
    for part in (preset.sampling, preset.ranking):
        values |= {name: getattr(part, name) for name in NUMBERS if hasattr(part, name)}
    controls, given = preset.controls, replace(preset.controls, strengths=left, schedule=None)
    rest = replace(preset, controls=replace(given, rules_off=()), sampling=None)
    is_more = rest.controls != Controls(mode=controls.mode) or rest.ranking is not None
    return values | {
        "mode": controls.mode,
        "feedback": controls.feedback > 0,
        "rules": [name for name in rules() if name not in controls.rules_off],
        "schedule": controls.schedule.to_json() if controls.schedule else "",
        "base": rest.to_json() if is_more else "",
    }


def sound(kept: Any) -> dict[str, Any]:
    """The defaults with those kept values that can be used; a browser may hold anything."""
    panel = defaults()
    for name, value in kept.items() if isinstance(kept, Mapping) else ():
        if name in panel and isinstance(value, type(panel[name]) | int | float | str | list):
            try:
                read_panel(panel | {name: value})
            except (ChatbotError, TypeError, ValueError):
                continue
            panel[name] = value
    return panel


def _chosen(names: Sequence[Any]) -> list[str]:
    unknown = [name for name in names if name not in topics()]
    if unknown:
        raise InputError(f"no topic {unknown[0]!r:.50}; there are {', '.join(topics())}")
    return list(names)


def _seed(typed: str | None) -> int | None:
    if not typed or not typed.strip():
        return None
    if not typed.strip().isdecimal():
        raise InputError(f"the seed is {typed!r:.50}; give a whole number, or leave it empty")
    return int(typed)
