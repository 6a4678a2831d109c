"""What a visitor can set for the next reply: names, bounds, and the settings they mean."""

from collections.abc import Mapping, Sequence
from typing import Any

from attribute_models.lexicon import shipped_lists
from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import MAX_CANDIDATES, MAX_NEW_TOKENS, Ranking, Sampling
from ui.turns import Settings

MOODS = ("joy", "surprise", "anger", "sadness", "fear", "disgust", "positive", "negative")
"""Attributes with a slider of their own."""

# Their words are there to notice a topic, not to lead to it.
_NOT_OFFERED = {"crime", "politics", "race", "religion", "sexual"}

_SAMPLING, _RANKING = Sampling(), Ranking()

NUMBERS: dict[str, tuple[float, float, float, float]] = {
    # name: (default, least, most, step)
    "candidates": (_SAMPLING.candidates, 1, MAX_CANDIDATES, 1),
    "temperature": (_SAMPLING.temperature, 0, 2, 0.01),
    "top_k": (_SAMPLING.top_k, 0, 1000, 1),
    "top_p": (_SAMPLING.top_p, 0.01, 1, 0.01),
    "max_new_tokens": (_SAMPLING.max_new_tokens, 1, MAX_NEW_TOKENS, 1),
    "novelty": (_RANKING.novelty, 0, 2, 0.05),
}
TOPIC_STRENGTH = 0.5

Panel = Mapping[str, Any]
"""Values by name: `MOODS`, `NUMBERS`, a list "topics", "topic_strength", and "seed" as typed."""


def topics() -> list[str]:
    """Attributes that are chosen as topics, all at one strength."""
    return [name for name in shipped_lists() if name not in _NOT_OFFERED | set(MOODS)]


def read_panel(panel: Panel) -> Settings:
    """The settings that the values mean.

    Raises:
        InputError: one is no number or out of its range.
    """
    for name in (*MOODS, "topic_strength", *NUMBERS):
        if isinstance(panel[name], bool) or not isinstance(panel[name], int | float):
            raise InputError(f"{name} is {panel[name]!r:.50}; give a number")
    strengths = {name: float(panel[name]) for name in MOODS}
    strengths |= dict.fromkeys(_chosen(panel["topics"]), float(panel["topic_strength"]))
    sampling = Sampling(
        candidates=int(panel["candidates"]),
        temperature=float(panel["temperature"]),
        top_k=int(panel["top_k"]),
        top_p=float(panel["top_p"]),
        max_new_tokens=int(panel["max_new_tokens"]),
    )
    controls = Controls({name: strength for name, strength in strengths.items() if strength})
    ranking = Ranking(novelty=float(panel["novelty"]))
    return Settings(controls, sampling, ranking, _seed(panel["seed"]))


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
