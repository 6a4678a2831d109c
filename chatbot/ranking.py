"""Chooses the reply among the candidates: drops what must not be said again, sorts the rest.

Works on text and numbers alone; knows nothing of models.
"""

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations, takewhile

from attribute_models.lexicon import Language, language_of
from chatbot.ngrams import hangul_share
from chatbot.prompt import shortened_runs
from chatbot.types import Candidate, Dropped, Ranking

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_DOUBLED = re.compile(r"\b([^\W\d_]{4,})(?: and)? \1\b", re.IGNORECASE)
"""A word said twice, as small models do: "I like painting and painting"."""

_MAY_DOUBLE = {
    "again", "days", "hours", "long", "more", "much", "never", "over", "really", "that", "very",
    "years",
}  # fmt: skip
_SENTENCE_END = re.compile(r"[.!?…]+")
_MOST_SAME_TRIGRAMS = 2
_LEAST_HANGUL = 0.7

SUIT_SHARE = 0.75
"""Of the fit where a topic rule prefers a reaction, what that reaction makes up."""


def words(text: str) -> list[str]:
    """Words in lower case, punctuation left out; Korean by eojeol."""
    return _WORD.findall(text.lower().replace("’", "'"))


def rank(
    candidates: Sequence[Candidate], turns: Sequence[str], ranking: Ranking
) -> tuple[Candidate, ...]:
    """The candidates with `score` or `dropped` set: the best first, dropped ones last.

    Args:
        candidates: as drawn.
        turns: the whole conversation, oldest first; the bot spoke the second last.
        ranking: weights and rules.
    """
    earlier = [_said(turn) for turn in turns]
    language = language_of(turns[-1]) if turns else None
    earlier_runs = {run for turn in earlier for run in _runs(turn, ranking.repeat_words)}
    own = _Habits.of(turns[-2::-2])
    read = [replace(one, monotony=own.monotony_of(one.text)) for one in candidates]
    scored = [(score_of(candidate, ranking), candidate) for candidate in read]
    scored.sort(key=lambda pair: pair[0], reverse=True)
    kept: list[Candidate] = []
    others: list[Candidate] = []
    said: set[tuple[str, ...]] = set()
    for score, candidate in scored:
        key = tuple(_said(candidate.text))
        dropped = _why_dropped(candidate.text, earlier, earlier_runs, ranking)
        if dropped is None and language and not _is_in(language, candidate.text):
            dropped = "other_language"
        if candidate.verdict is not None and not candidate.verdict.accepted:
            dropped = "rejected"  # whatever else is wrong: the others may be the last resort
        if dropped is None and key in said:
            dropped = "duplicate"
        if dropped is None:
            said.add(key)
        judged = replace(candidate, score=score, dropped=dropped)
        (others if dropped else kept).append(judged)
    return (*kept, *others)


def score_of(candidate: Candidate, ranking: Ranking) -> float:
    """In nats, higher is better: the sum that `Ranking` describes.

    Log-likelihood per piece, less what it has anywhere, plus how well it answers and what it shows,
    less its monotony and its risk.
    """
    alone = candidate.log_likelihood_alone or 0.0
    length = max(1, len(candidate.token_ids)) ** ranking.length_power
    fluency = (candidate.log_likelihood - ranking.novelty * alone) / length
    risk = candidate.verdict.risk if candidate.verdict is not None else 0.0
    answers = ranking.coherence * (candidate.coherence or 0.0)
    shows = ranking.fit * (candidate.fit or 0.0)
    return fluency + answers + shows - ranking.monotony * candidate.monotony - ranking.risk * risk


@dataclass(frozen=True, slots=True)
class _Habits:
    """What the bot has done in its turns: how many in a row asked, up to the last; and sentences.

    A reply that asks again interviews the person; one that says a sentence again bores.
    """

    asked: int
    said: frozenset[str]

    @classmethod
    def of(cls, turns: Sequence[str]) -> "_Habits":
        """Of the bot's turns, newest first."""
        asked = sum(1 for _ in takewhile(lambda turn: "?" in turn, turns))
        return cls(asked, frozenset(one for turn in turns for one in _sentences(turn)))

    def monotony_of(self, text: str) -> int:
        """One for each sentence said before, and each question in a row but for the first two."""
        interviews = max(0, self.asked - 1) if "?" in text else 0
        return interviews + len(self.said.intersection(_sentences(text)))


def _sentences(text: str) -> list[str]:
    """Those of a turn that are longer than a yes, as words in lower case."""
    parts = (" ".join(words(part)) for part in _SENTENCE_END.split(text))
    return [part for part in parts if len(part) > (2 if hangul_share(part) else 4)]


def fit_with(candidate: Candidate, suits: float) -> Candidate:
    """The candidate with a fit that counts how far it reacts as topic rules prefer, 0 to 1."""
    shown = suits if candidate.fit is None else candidate.fit
    return replace(candidate, fit=SUIT_SHARE * suits + (1 - SUIT_SHARE) * shown)


def _said(text: str) -> list[str]:
    """The words, or the whole text where it has none, such as an emoji."""
    return words(text) or [text]


def _why_dropped(
    text: str,
    earlier: Sequence[Sequence[str]],
    earlier_runs: Set[tuple[str, ...]],
    ranking: Ranking,
) -> Dropped | None:
    if not text:
        return "empty"
    if "\N{REPLACEMENT CHARACTER}" in text:
        return "broken_text"
    spoken = _said(text)
    holds_down_a_sign = shortened_runs(text) != text
    if holds_down_a_sign or _repeats_itself(spoken) or _doubles_a_word(text) or _says_twice(text):
        return "repeats_itself"
    own = earlier[-2::-2]  # the bot's turns; what greets may be said by both sides
    if spoken in own or (len(spoken) > 1 and spoken in earlier):
        return "repeats_turn"
    if not earlier_runs.isdisjoint(_runs(spoken, ranking.repeat_words)):
        return "repeats_turn"
    return None


def _is_in(language: Language, text: str) -> bool:
    """Whether a text is in the script of a language; names and loans may stand in Korean."""
    letters = [letter for letter in text if letter.isalpha()]
    hangul = sum("\uac00" <= letter <= "\ud7a3" or "ㄱ" <= letter <= "ㆎ" for letter in letters)
    if language == "ko":
        return hangul >= _LEAST_HANGUL * len(letters)
    return not hangul


def _repeats_itself(spoken: Sequence[str]) -> bool:
    """Whether a run of three words comes three times, or a word three times in a row."""
    if any(count > _MOST_SAME_TRIGRAMS for count in Counter(_runs(spoken, 3)).values()):
        return True
    return any(a == b == c for a, b, c in _runs(spoken, 3))


def _doubles_a_word(text: str) -> bool:
    return any(found.lower() not in _MAY_DOUBLE for found in _DOUBLED.findall(text))


def _says_twice(text: str) -> bool:
    """Whether a sentence stands twice in one reply, once perhaps behind other words."""
    said = [f" {sentence}" for sentence in _sentences(text)]
    return any(a.endswith(b) or b.endswith(a) for a, b in combinations(said, 2))


def _runs(spoken: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(spoken[i : i + length]) for i in range(len(spoken) - length + 1)]
