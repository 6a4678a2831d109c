"""What is asked of a reply, and how much of it each candidate still has to bring.

A plan holds what one conversation asks for, a goal what one candidate is asked for of one
attribute, a row a candidate with its goals while it is drawn. Budget, rate and price are explained
in `chatbot.steering`, which turns prices into a shift of the logits.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from attribute_models.lexicon import language_of_turns
from attribute_models.trie import Place
from chatbot.binding import (
    DAMPED_BY_NEUTRAL,
    FULL_WORDS,
    LEAST_ODDS,
    NEUTRAL,
    WORDS_AMONG_PUSHES,
    WORDS_BESIDE_HEAD,
    WORDS_BESIDE_LISTS,
    Bound,
    Steerer,
)
from chatbot.controls import Controls
from chatbot.types import TokenTrace

SHARPENING = 0.2
"""By how much of itself the temperature is lower at strength 1: tilts and pushes flatten.

On 24 contexts at strength 1, words of the list in every reply, the perplexity of the replies was
2.1 instead of 2.8 times the unsteered (game), 1.9 instead of 2.6 (food).
"""

MISS = 0.01
"""Mass by which a target counts as missed; half of it is as near as is tried for."""

FAINT = 0.1
"""A reading below this is as good as none."""


@dataclass(slots=True)
class Plan:
    """What is asked of one conversation's candidates.

    Attributes:
        language: of the newest turn that has letters; English if none has.
        strengths: of the attributes asked for, by name, none of them 0.
        columns: of these attributes among the bags of the batch.
        families: numbers of the families with a head for each of them.
        unknown: attributes that have neither words nor a head in that language.
    """

    controls: Controls
    language: str
    strengths: dict[str, float]
    columns: dict[str, int] = field(default_factory=dict)
    families: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def full_words(self, name: str) -> float:
        """How many words of an attribute strength 1 asks for."""
        wanted = self.wanted(self.strengths)
        is_mixed = bool(wanted & self.families.keys()) and bool(wanted - self.families.keys())
        if name in self.families:
            return WORDS_BESIDE_LISTS if is_mixed else WORDS_BESIDE_HEAD
        return WORDS_AMONG_PUSHES if is_mixed else FULL_WORDS

    def beside(self, name: str, family: int) -> int:
        """Labels of a family that are wanted together, by which the push towards each is divided.

        They are mostly the same way from the reference: half of joy and half of surprise, not both
        in full.
        """
        asked = [one for one, numbers in self.families.items() if family in numbers]
        together = self.wanted(asked)
        return len(together) if name in together else 1

    def wanted(self, names: Iterable[str]) -> set[str]:
        """Those of the attributes that are asked for, not away from."""
        return {name for name in names if self.strengths[name] > 0}


@dataclass(slots=True)
class Goal:
    """What one candidate is asked for of one attribute.

    Attributes:
        column: of the bag among those of the batch.
        strength: the candidate's own share of what is asked.
        wanted: words, for a strength above 0.
        place: where the candidate stands among the words.
        missed: pieces at which its mass was out of reach beside the other attributes.
    """

    bound: Bound
    column: int
    strength: float
    wanted: float
    place: Place
    missed: int = 0

    @property
    def is_met(self) -> bool:
        """Whether as many words have come as are wanted."""
        return self.strength > 0 and self.place.so_far >= self.wanted

    def price(self, drawn: int) -> tuple[float, float]:
        """The price after so many pieces, and the words that are missing."""
        if self.strength < 0:
            return math.log(max(LEAST_ODDS, 1 + self.strength)), 0.0
        bound = self.bound
        missing = self.wanted - max(self.place.so_far, bound.clean_words)
        if missing <= 0:
            return 0.0, 0.0
        left = bound.remaining[min(drawn, len(bound.remaining) - 1)]
        return bound.curve.price(bound.curve.clean + missing / left), missing


@dataclass(slots=True)
class Row:
    """One candidate while it is drawn."""

    plan: Plan
    share: float
    goals: dict[str, Goal]
    tokens: list[TokenTrace] = field(default_factory=list)
    drawn: int = 0
    pieces: list[int] = field(default_factory=list)
    readings: dict[str, float] = field(default_factory=dict)
    is_done: bool = False
    fallbacks: int = 0

    @property
    def heat(self) -> float:
        """Share of the temperature that the row is drawn at: the less, the more is asked."""
        asked = max(self.plan.strengths.values(), default=0.0) * self.share
        return 1 - self.plan.controls.fusion * SHARPENING * min(1.0, max(0.0, asked))

    def weight(self, name: str) -> float:
        """What an attribute counts for in the fit.

        A small strength of what can be read asks for a small reading, and asks for it firmly; of
        words it asks for a word now and then.
        """
        strength = abs(self.plan.strengths[name])
        return math.sqrt(strength) if name in self.readings else strength

    def met(self, name: str) -> float:
        """How far the reply shows an attribute, from 0 to 1: as read, or by its words."""
        strength = self.plan.strengths[name]
        if name in self.readings:
            reading = self.readings[name]
            return min(1.0, reading / strength) if strength > 0 else 1 - reading
        return _met(strength, self.goals[name].place.so_far) if name in self.goals else 0.0

    def why_no_effect(self, name: str) -> str:
        """In words; empty where there was one."""
        strength, goal = self.plan.strengths[name], self.goals.get(name)
        if name in self.plan.families:
            weak = strength > 0 and self.readings.get(name, 1.0) < FAINT
            came = goal is not None and goal.place.so_far > 0
            return "it can hardly be read in the reply" if weak and not came else ""
        if goal is None:
            return ""
        if strength > 0:
            if goal.place.so_far:
                return ""
            return "the others left it no room" if goal.missed else "none of its words came"
        lowered = sum(t.before.get(name, 0) - t.after.get(name, 0) for t in self.tokens)
        return "" if lowered > MISS else "none of its words was near"

    def prices(self, n_bags: int) -> tuple[list[float], float]:
        """The price of every bag of the batch, 0 where nothing is asked, and all words missing."""
        prices, missing = [0.0] * n_bags, 0.0
        for goal in self.goals.values():
            prices[goal.column], lacking = goal.price(self.drawn)
            missing += lacking
        return prices, missing


def plan_of(steerer: Steerer, controls: Controls, turns: Sequence[str]) -> Plan:
    """What can be steered of what is asked of the answer to a conversation, without its columns.

    Raises:
        UnknownAttributeError: there is no such attribute.
    """
    language = language_of_turns(turns)
    strengths = _strengths(steerer, controls, turns, language)
    wanted = {name: strength for name, strength in strengths.items() if strength}
    for name in DAMPED_BY_NEUTRAL if wanted.get(NEUTRAL, 0) > 0 else ():
        wanted.setdefault(name, -wanted[NEUTRAL])
    families = {name: steerer.learned(name, language) for name in wanted}
    has_words = {name: steerer.bound(name, language) is not None for name in wanted}
    unknown = [name for name in wanted if not families[name] and not has_words[name]]
    if NEUTRAL in unknown and any(has_words[name] for name in DAMPED_BY_NEUTRAL if name in wanted):
        unknown.remove(NEUTRAL)  # without a head it still keeps opinions out
    return Plan(
        controls,
        language,
        {name: strength for name, strength in wanted.items() if name not in unknown},
        families={name: found for name, found in families.items() if found},
        unknown=tuple(unknown),
    )


def _strengths(
    steerer: Steerer, controls: Controls, turns: Sequence[str], language: str
) -> dict[str, float]:
    """What is asked of the answer to a conversation, corrected by what the last reply showed.

    The correction is a proportional step: a reply that showed 0.2 of anger where 0.5 was asked
    raises the next turn's strength by `feedback` times 0.3. It reads the text of that turn, so a
    conversation can be gone on with, replayed or edited anywhere.
    """
    turn, said = (len(turns) + 1) // 2, turns[::-2][::-1]
    strengths = controls.at(turn, said)
    steerer.check(strengths)
    if not controls.feedback or len(turns) < 2:
        return strengths
    before = controls.at(turn - 1, said[:-1])
    for name, strength in strengths.items():
        shown = steerer.shown(name, turns[-2], language) if strength > 0 else None
        if shown is not None:
            error = max(0.0, before.get(name, 0.0)) - shown
            strengths[name] = min(1.0, max(0.0, strength + controls.feedback * error))
    return strengths


def _met(strength: float, realised: float) -> float:
    """How far an attribute shows, from 0 to 1.

    One word is enough: among replies that have one, the most fluent is wanted. Asking the ranking
    for the second word of strength 1 as well cost half as much perplexity again.
    """
    return min(1.0, realised) if strength > 0 else 1 / (1 + realised)
