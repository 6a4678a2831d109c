"""Binds attributes to a generator: its heads, and how the words of lists come by themselves.

Knows which attributes there are and what a strength asks for; knows nothing of candidates.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from attribute_models.base import AttributeModelError
from attribute_models.bow import Bag
from attribute_models.calibration import RateCurve
from attribute_models.heads import CARD, SHIPPED, Heads
from attribute_models.lexicon import (
    LexiconError,
    WordList,
    load_list,
    load_shipped,
    shipped_lists,
)
from attribute_models.readers import CARD as READER_CARD
from attribute_models.readers import Reader
from attribute_models.trie import Pieces, Place
from chatbot.backbone import Backbone
from chatbot.embedding import Embedder
from chatbot.errors import InputError, ModelError, UnknownAttributeError
from chatbot.folders import own_folder
from chatbot.reference import OPENERS, Reference

FULL_WORDS = 2.0
"""Words of an attribute that strength 1 asks for in a reply.

Chosen with `Ranking.fit` by benchmarks/steering_effect.py: with 1 or 1.5 fewer candidates have a
word and the chosen replies are no more fluent.
"""

WORDS_BESIDE_HEAD = 0.8
"""The same where a learned head pulls as well: a word makes plain what the head makes likely."""

WORDS_AMONG_PUSHES = 4.0
WORDS_BESIDE_LISTS = 0.3
"""The two where lists without a head and heads are asked for together.

The pushes say plain things surely and leave a topic little room. On 24 contexts joy, surprise and
game, each at strength 1, came in 83, 79 and 62 % of the replies with these and in 67, 79 and 42 %
with the two above; the perplexity rose from 2.5 to 2.9 times the unsteered (ranked without
coherence).
"""

NEUTRAL = "neutral"
"""The attribute that holds every family at its reference label and keeps opinions out."""

DAMPED_BY_NEUTRAL = ("positive", "negative")

LEAST_ODDS = 0.02
"""What strength -1 leaves of the odds of a word."""


def own_heads(digest: str, encoder: str | None = None) -> Path:
    """Where heads trained on this machine for a generator lie; those read by one encoder alone.

    Args:
        digest: of the generator.
        encoder: digest of the encoder; None for the folder above those of all encoders.
    """
    folder = own_folder("heads", digest)
    return folder if encoder is None else folder / encoder[:16]


def _encoder_of(folder: Path) -> str | None:
    """Digest of the encoder that a reader reads with; None where there is no reader."""
    try:
        return str(json.loads((folder / READER_CARD).read_text(encoding="utf-8"))["encoder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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

    def wanted(self, strength: float, full: float = FULL_WORDS) -> float:
        """Words that a reply should have, where strength 1 asks for `full` of them."""
        if strength < 0:
            return self.clean_words * max(LEAST_ODDS, 1 + strength)
        return self.clean_words + strength * max(0.0, full - self.clean_words)


class Steerer:
    """The attributes that one generator can be steered by; shared by threads.

    Bags are bound when first asked for and never changed after.

    Attributes:
        heads: the learned families that fit the generator.
        readers: what tells how far a text shows a label, by family.
        refused: families whose heads cannot be used, and why.
    """

    def __init__(self, backbone: Backbone, *, encoder: str | Path | None = None):
        self.backbone = backbone
        self._encoder = encoder
        self.heads: tuple[Heads, ...] = ()
        self.readers: dict[str, Reader] = {}
        self._embedder: Embedder | None = None
        self._lists: dict[str, dict[str | None, WordList]] = {
            name: {one.language: one for one in map(load_shipped, files)}
            for name, files in shipped_lists().items()
        }
        self._pieces: Pieces | None = None
        self._references: dict[str, Reference] = {}
        self._bound: dict[tuple[str, str], Bound] = {}
        self._lock = threading.RLock()
        self._folders: dict[str, Path] = {}
        self._load_heads()

    def _load_heads(self) -> None:
        """Takes the heads trained for this generator: the shipped ones, or those trained here.

        Heads for other generators stay unused; attributes then have their words alone.
        """
        digest, device = self.backbone.identity["digest"], self.backbone.device
        found: dict[str, dict[Path, Heads]] = {}  # by family, the later the better
        self.refused: dict[str, str] = {}
        own = own_heads(digest)
        places = (SHIPPED, own, *sorted(own.glob("*")))  # those in own: of one encoder each
        for card in (card for place in places for card in sorted(place.glob(f"*/{CARD}"))):
            try:
                heads = Heads.load(card.parent, backbone=digest, device=device)
            except AttributeModelError as error:
                self.refused.setdefault(card.parent.name, str(error))
                continue
            found.setdefault(heads.family, {})[card.parent] = heads
        self._folders = {family: self._fitting(list(folders)) for family, folders in found.items()}
        self.heads = tuple(found[family][self._folders[family]] for family in sorted(found))
        for family in found:
            self.refused.pop(family, None)

    def _fitting(self, folders: Sequence[Path]) -> Path:
        """The last of the folders whose reader is of the bot's encoder; else the last of all."""
        if len(folders) == 1:
            return folders[0]  # the encoder need not be loaded
        encoder = self.embedder.identity["digest"]
        fitting = [folder for folder in folders if _encoder_of(folder) == encoder]
        return (fitting or folders)[-1]

    @property
    def train_command(self) -> str:
        """What trains learned heads for this generator."""
        source = self.backbone.source
        model = "" if source == "shipped" else f" --model {source}"
        return f"chatbot attributes train --all --data FOLDER{model}"

    def use_heads(self, heads: Sequence[Heads], readers: Mapping[str, Reader]) -> None:
        """Takes these heads and readers in place of the shipped ones."""
        self.heads, self.readers = tuple(heads), dict(readers)

    @property
    def embedder(self) -> Embedder:
        """What readers read with; loaded when first asked for."""
        with self._lock:
            if self._embedder is None:
                self._embedder = Embedder.load(self._encoder)
            return self._embedder

    def reader(self, family: str) -> Reader:
        """Of a family.

        Raises:
            ModelError: there is none that can be used.
        """
        with self._lock:
            if family not in self.readers:
                digest = self.embedder.identity["digest"]
                try:
                    self.readers[family] = Reader.load(
                        self._folders.get(family, SHIPPED / family), encoder=digest
                    )
                except AttributeModelError as error:
                    raise ModelError(str(error)) from error
            return self.readers[family]

    def shown(self, name: str, text: str, language: str) -> float | None:
        """The strength, 0 to 1, at which replies show an attribute as this text does on average.

        None where no learned head is calibrated for it.
        """
        for at in self.learned(name, language):
            heads = self.heads[at]
            if name in heads.calibration:
                reading = self.reader(heads.family).read(self.embedder.encode([text]))[0]
                return heads.calibration[name].strength_of(float(reading[heads.labels.index(name)]))
        return None

    def learned(self, name: str, language: str) -> tuple[int, ...]:
        """Numbers of the families that have a head for the attribute, in this language."""
        return tuple(
            at
            for at, heads in enumerate(self.heads)
            if name in heads.labels and heads.language == language
        )

    def names(self) -> list[str]:
        """Of all attributes, sorted."""
        labels = {label for heads in self.heads for label in heads.labels}
        return sorted({*self._lists, *labels, NEUTRAL})

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
        words = [language or "any" for language in self._lists.get(name, {})]
        learned = [heads.language for heads in self.heads if name in heads.labels]
        return list(dict.fromkeys([*words, *learned]))

    def check(self, strengths: Mapping[str, float]) -> None:
        """Raises UnknownAttributeError for names that there is no attribute of."""
        known = self.names()
        for name in strengths:
            if name not in known:
                raise UnknownAttributeError(
                    f"no attribute named {name!r}; known: {', '.join(known)}. "
                    "Fix the name, or add a word list of your own (--bag FILE, or "
                    f"Chatbot.add_attribute(FILE)){self._other_heads()}"
                )

    def _other_heads(self) -> str:
        """The end of an error, where heads cannot be used that may have the name."""
        if not self.refused:
            return ""
        families = ", ".join(sorted(self.refused))
        return (
            f". The heads {families} were trained for another generator; train them for this one "
            f"with `{self.train_command}`"
        )

    def bound(self, name: str, language: str) -> Bound | None:
        """The attribute in a language, measured on the generator; None without words for it."""
        lists = self._lists.get(name, {})
        words = lists.get(language, lists.get(None))
        if words is None:
            return None
        with self._lock:
            if (name, language) not in self._bound:
                self._bound[name, language] = self._bind(words, language)
            return self._bound[name, language]

    def warm(self) -> None:
        """Measures every attribute now, so that nobody waits at its first use: some seconds.

        For a thread of a program that stays: others can be answered meanwhile.
        """
        for name in self.names():
            for language in OPENERS:
                self.bound(name, language)

    @torch.no_grad()  # not inference mode: gradients go through the lists in two of the modes
    def _bind(self, words: WordList, language: str) -> Bound:
        if language not in self._references:
            self._references[language] = Reference(self.backbone, language)
        if self._pieces is None:
            self._pieces = Pieces.of(self.backbone.pieces, self.backbone.piece_texts())
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
