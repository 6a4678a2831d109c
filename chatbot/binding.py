"""Binds attributes to a generator: measures once how their words come by themselves.

Knows which attributes there are and what a strength asks for; knows nothing of candidates.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from attribute_models.bow import Bag
from attribute_models.calibration import RateCurve
from attribute_models.lexicon import (
    LexiconError,
    WordList,
    load_list,
    load_shipped,
    shipped_lists,
)
from attribute_models.trie import Pieces, Place
from chatbot.backbone import Backbone
from chatbot.errors import InputError, UnknownAttributeError
from chatbot.reference import Reference

FULL_WORDS = 2.0
"""Words of an attribute that strength 1 asks for in a reply.

Chosen with `Ranking.fit` by benchmarks/steering_effect.py: with 1 or 1.5 fewer candidates have a
word and the chosen replies are no more fluent.
"""

LEAST_ODDS = 0.02
"""What strength -1 leaves of the odds of a word."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bag with what its words do by themselves in one language of one generator.

    Attributes:
        curve: what a price buys.
        clean_words: words of an unsteered reply, c.
        remaining: expected pieces still to come, by the number drawn.
    """

    bag: Bag
    curve: RateCurve
    clean_words: float
    remaining: Sequence[float]

    def wanted(self, strength: float) -> float:
        """Words that a reply should have."""
        if strength < 0:
            return self.clean_words * max(LEAST_ODDS, 1 + strength)
        return self.clean_words + strength * max(0.0, FULL_WORDS - self.clean_words)


class Steerer:
    """The attributes that one generator can be steered by; shared by threads.

    Bags are bound when first asked for and never changed after.
    """

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self._lists: dict[str, dict[str | None, WordList]] = {
            name: {one.language: one for one in map(load_shipped, files)}
            for name, files in shipped_lists().items()
        }
        self._pieces: Pieces | None = None
        self._references: dict[str, Reference] = {}
        self._bound: dict[tuple[str, str], Bound] = {}
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """Of all attributes, sorted."""
        return sorted(self._lists)

    def add(self, file: str | Path) -> str:
        """Makes a word list of one's own an attribute; returns its name.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            words = load_list(file)
        except LexiconError as error:
            raise InputError(str(error)) from error
        with self._lock:
            self._lists = {**self._lists, words.name: {words.language: words}}
            self._bound = {key: one for key, one in self._bound.items() if key[0] != words.name}
        return words.name

    def languages(self, name: str) -> list[str]:
        """That an attribute has words in; "any" for a list of mixed words."""
        return [language or "any" for language in self._lists[name]]

    def check(self, strengths: Mapping[str, float]) -> None:
        """Raises UnknownAttributeError for names that there is no attribute of."""
        for name in strengths:
            if name not in self._lists:
                raise UnknownAttributeError(
                    f"no attribute named {name!r}; known: {', '.join(self.names())}. "
                    "Fix the name, or add a word list of your own (--bag FILE, or "
                    "Chatbot.add_attribute(FILE))"
                )

    def bound(self, name: str, language: str) -> Bound | None:
        """The attribute in a language, measured on the generator; None without words for it."""
        lists = self._lists[name]
        words = lists.get(language, lists.get(None))
        if words is None:
            return None
        with self._lock:
            if (name, language) not in self._bound:
                self._bound[name, language] = self._bind(words, language)
            return self._bound[name, language]

    @torch.inference_mode()
    def _bind(self, words: WordList, language: str) -> Bound:
        if language not in self._references:
            self._references[language] = Reference(self.backbone, language)
        if self._pieces is None:
            texts = [self.backbone.text([piece]) for piece in range(self.backbone.vocab_size)]
            self._pieces = Pieces.of(self.backbone.pieces, texts)
        reference = self._references[language]
        rivals = [
            lists[words.language]
            for name, lists in self._lists.items()
            if name != words.name and words.language in lists
        ]
        bag = Bag(
            words, self._pieces, self.backbone.output_embedding(),
            continuations=reference.continuations, rivals=rivals,
        )  # fmt: skip
        places = []
        for reply in reference.replies:
            place = Place()
            for piece in reply:
                places.append(place)
                place = bag.trie.advance(place, piece)
        chance, weight = bag.features(places)
        curve = RateCurve.measure(reference.log_probs(bag.support), chance, weight)
        return Bound(bag, curve, curve.clean * reference.length, reference.remaining)
