"""Replies that make no sense, made from dialogues in which every reply does.

Each kind of fault is one that chatbots show. This module knows words and dialogues, no model.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.ssa.words import FUNCTION_WORDS, normalise, word_set, words


@dataclass(frozen=True, slots=True)
class Reply:
    """A normalised reply in a place of a dialogue.

    Attributes:
        target: how sensible it is taken to be there, 0 to 1.
        kind: "true", or the name of the fault.
    """

    text: str
    target: float
    kind: str


TARGETS: Mapping[str, float] = {
    "true": 1.0,
    "random": 0.0,
    "overlap": 0.1,
    "shifted": 0.1,
    "swapped": 0.1,
    "contradiction": 0.05,
    "own repeated": 0.0,
    "echo": 0.05,
    "truncated": 0.2,
    "salad": 0.0,
    "stutter": 0.15,
    "wrong answer": 0.05,
    "generic": 0.6,
}
"""What each kind is taken to be worth. A shifted turn often fits by chance; a generic reply makes
sense more often than not (a bot that only says such things: 70 %, Adiwardana et al. 2020)."""

GENERIC_TO_QUESTION = ("i don't know", "i'm not sure", "maybe", "good question", "not really")
GENERIC_TO_STATEMENT = ("ok", "i see", "that's nice", "oh really?", "sounds good", "cool", "wow")
_NO_ANSWER = ("yes, i do", "no, i don't", "yes, of course", "no, not at all", "yes, it is")
_NO_YES_OR_NO = ("at half past seven", "in the kitchen", "about twenty of them", "because of him",
                 "my uncle did", "on tuesday", "the blue one")  # fmt: skip
_WH = frozenset({"what", "where", "when", "who", "why", "how", "which", "what's", "who's"})
_AUXILIARY = word_set(
    "do does did are is was were have has can could will would should am don't isn't aren't"
)
_FLIPS = {
    "am": "am not", "is": "is not", "are": "are not", "was": "was not", "were": "were not",
    "can": "can't", "will": "won't", "i'm": "i'm not", "do": "don't", "it's": "it's not",
    "have": "don't have", "like": "don't like", "love": "hate", "hate": "love",
    "don't": "do", "never": "always", "always": "never", "can't": "can", "didn't": "did",
    "isn't": "is", "enjoy": "can't stand", "work": "don't work", "live": "don't live",
}  # fmt: skip


def is_question(turn: str) -> bool:
    """Whether a normalised turn ends by asking."""
    return turn.rstrip(" !\"'").endswith("?") or _first(turn) in _WH


def is_wh_question(turn: str) -> bool:
    """Whether the last sentence of a normalised turn asks for more than yes or no."""
    return turn.endswith("?") and _first(_last_sentence(turn)) in _WH


def is_yes_no_question(turn: str) -> bool:
    """Whether the last sentence of a normalised turn can be answered by yes or no."""
    return turn.endswith("?") and _first(_last_sentence(turn)) in _AUXILIARY


def _last_sentence(turn: str) -> str:
    body = turn.rstrip("?! ")
    return body[max(body.rfind(mark) for mark in ".!?,") + 1 :].strip()


def _first(turn: str) -> str:
    return next(iter(words(turn)), "")


class Corruptor:
    """Makes faulty replies; the same seed and calls give the same ones.

    Args:
        replies: normalised turns of the same source, for random replies and foreign words.
        rarity: idf of words; the rarest of a reply are what is swapped.
    """

    def __init__(self, replies: Sequence[str], rarity: Mapping[str, float], rng: random.Random):
        self._replies = replies
        self._rarity = rarity
        self._rng = rng
        self._saying: dict[str, list[int]] = defaultdict(list)
        for place, reply in enumerate(replies):
            for word in set(words(reply)):
                if rarity.get(word, 0) > 4.5:
                    self._saying[word].append(place)

    def random_reply(self, turns: Sequence[str], i: int) -> str | None:
        return self._rng.choice(self._replies)

    def overlap(self, turns: Sequence[str], i: int) -> str | None:
        """A foreign reply that has a rare word of the true one, or of the turn before."""
        shared = dict.fromkeys([*words(turns[i - 1]), *words(turns[i])])
        said = [word for word in shared if len(self._saying.get(word, ())) > 3]
        if not said:
            return None
        reply = self._replies[self._rng.choice(self._saying[self._rng.choice(said)])]
        return None if reply in turns else reply

    def shifted(self, turns: Sequence[str], i: int) -> str | None:
        """A turn of the same dialogue, at least two places from where it belongs."""
        far = [j for j in range(len(turns)) if j > i + 1 or j < i - 4]
        return turns[self._rng.choice(far)] if far else None

    def swapped(self, turns: Sequence[str], i: int) -> str | None:
        """The true reply with its rare words taken from another one."""
        rare = [w for w in dict.fromkeys(words(turns[i])) if self._rarity.get(w, 0) > 5.5]
        donor = [w for w in words(self._rng.choice(self._replies)) if self._rarity.get(w, 0) > 5.5]
        if not rare or not donor:
            return None
        new = {word: self._rng.choice(donor) for word in rare if word not in donor}
        return " ".join(new.get(word, word) for word in turns[i].split()) if new else None

    def contradiction(self, turns: Sequence[str], i: int) -> str | None:
        """The opposite of what the same person said before."""
        for j in range(i - 2, max(-1, i - 5), -2):
            flipped = self._flip(turns[j])
            if flipped:
                return flipped
        return None

    def _flip(self, turn: str) -> str | None:
        if is_question(turn):
            return None
        parts = turn.split()
        for k, word in enumerate(parts[:8]):
            if word in _FLIPS and k + 1 < len(parts):
                return " ".join([*parts[:k], _FLIPS[word], *parts[k + 1 :]])
        return None

    def own_repeated(self, turns: Sequence[str], i: int) -> str | None:
        return turns[i - 2] if i >= 2 and len(words(turns[i - 2])) > 3 else None

    def echo(self, turns: Sequence[str], i: int) -> str | None:
        """What the other person has just said, sometimes with the two persons exchanged."""
        if len(words(turns[i - 1])) < 4:
            return None
        return turns[i - 1] if self._rng.random() < 0.5 else exchange_persons(turns[i - 1])

    def truncated(self, turns: Sequence[str], i: int) -> str | None:
        parts = turns[i].split()
        if len(parts) < 6:
            return None
        keep = self._rng.randint(2, len(parts) * 2 // 3)
        while keep > 1 and parts[keep - 1].strip(".,!?") not in FUNCTION_WORDS:
            keep -= 1
        return " ".join(parts[:keep]) if keep > 1 and parts[keep - 1][-1] not in ".!?" else None

    def salad(self, turns: Sequence[str], i: int) -> str | None:
        parts = turns[i].split()
        if len(parts) < 5:
            return None
        self._rng.shuffle(parts)
        return " ".join(parts)

    def stutter(self, turns: Sequence[str], i: int) -> str | None:
        """A phrase of the reply said twice, as weak generators do."""
        parts = turns[i].split()
        if len(parts) < 5:
            return None
        n = self._rng.randint(2, min(6, len(parts) - 1))
        k = self._rng.randint(0, len(parts) - n)
        joint = self._rng.choice((["and"], ["but"], []))
        return " ".join([*parts[: k + n], *joint, *parts[k : k + n], *parts[k + n :]])

    def wrong_answer(self, turns: Sequence[str], i: int) -> str | None:
        if is_wh_question(turns[i - 1]):
            return self._rng.choice(_NO_ANSWER)
        return self._rng.choice(_NO_YES_OR_NO) if is_yes_no_question(turns[i - 1]) else None

    def generic(self, turns: Sequence[str], i: int) -> str | None:
        asked = is_question(turns[i - 1])
        return self._rng.choice(GENERIC_TO_QUESTION if asked else GENERIC_TO_STATEMENT)

    def faulty(self, turns: Sequence[str], i: int, kind: str) -> Reply | None:
        """A reply of that kind in the place of turn `i`; None where the kind cannot be made."""
        make = {"random": self.random_reply}.get(kind) or getattr(self, kind.replace(" ", "_"))
        reply = normalise(make(turns, i) or "")
        return Reply(reply, TARGETS[kind], kind) if words(reply) and reply != turns[i] else None


_PERSONS = {"i": "you", "you": "i", "my": "your", "your": "my", "me": "you", "i'm": "you're",
            "you're": "i'm", "am": "are", "mine": "yours", "yours": "mine", "i've": "you've",
            "i'll": "you'll"}  # fmt: skip


def exchange_persons(turn: str) -> str:
    """A normalised turn with `I` and `you` exchanged."""
    return " ".join(_PERSONS.get(word, word) for word in turn.split())
