"""Chooses the reply among the candidates: drops what must not be said again, sorts the rest.

Works on text and numbers alone; knows nothing of models.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from chatbot.types import Candidate, Dropped, Ranking

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_MOST_SAME_TRIGRAMS = 2


def words(text: str) -> list[str]:
    """Words in lower case, punctuation left out; Korean by eojeol."""
    return _WORD.findall(text.lower())


def rank(
    candidates: Sequence[Candidate], turns: Sequence[str], ranking: Ranking
) -> tuple[Candidate, ...]:
    """The candidates with `score` or `dropped` set: the best first, dropped ones last.

    Args:
        candidates: as drawn.
        turns: the whole conversation, oldest first; the bot spoke the second last.
        ranking: weights and rules.
    """
    earlier = [words(turn) for turn in turns]
    said = Counter[str]()
    judged = []
    for candidate in candidates:
        key = " ".join(words(candidate.text)) or candidate.text
        dropped = _why_dropped(candidate, earlier, ranking)
        if dropped is None and said[key]:
            dropped = "duplicate"
        said[key] += 1
        score = score_of(candidate, ranking)
        judged.append(replace(candidate, score=score, dropped=dropped))
    return tuple(sorted(judged, key=lambda c: (c.dropped is not None, -(c.score or 0.0))))


def score_of(candidate: Candidate, ranking: Ranking) -> float:
    """Log-likelihood per piece, less the likelihood the reply has anywhere, and what it shows of
    the attributes asked for; nats, higher better.
    """
    alone = candidate.log_likelihood_alone or 0.0
    length = max(1, len(candidate.token_ids)) ** ranking.length_power
    fluency = (candidate.log_likelihood - ranking.novelty * alone) / length
    return fluency + ranking.fit * (candidate.fit or 0.0)


def _why_dropped(
    candidate: Candidate, earlier: Sequence[Sequence[str]], ranking: Ranking
) -> Dropped | None:
    text = candidate.text
    if not text:
        return "empty"
    if "\N{REPLACEMENT CHARACTER}" in text:
        return "broken_text"
    spoken = words(text)
    if _repeats_itself(spoken):
        return "repeats_itself"
    own = earlier[-2::-2]  # the bot's turns; what greets may be said by both sides
    if spoken and (spoken in own or (len(spoken) > 1 and spoken in earlier)):
        return "repeats_turn"
    runs = set(_runs(spoken, ranking.repeat_words))
    if runs and any(runs.intersection(_runs(turn, ranking.repeat_words)) for turn in earlier):
        return "repeats_turn"
    return None


def _repeats_itself(spoken: Sequence[str]) -> bool:
    """Whether a run of three words comes three times, or a word three times in a row."""
    if any(count > _MOST_SAME_TRIGRAMS for count in Counter(_runs(spoken, 3)).values()):
        return True
    return any(a == b == c for a, b, c in _runs(spoken, 3))


def _runs(spoken: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(spoken[i : i + length]) for i in range(len(spoken) - length + 1)]
