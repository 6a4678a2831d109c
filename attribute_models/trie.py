"""Finds the words of a list in a reply while it is drawn piece by piece.

A word is found along the pieces that the tokenizer splits it into, at the beginning of the reply,
behind a space and behind punctuation. Knows nothing of models or probabilities.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from attribute_models.lexicon import Language, WordList, inflections, spellings

SPACED, BARE = 0, 1
"""Roots of the trie: words that bring the space before them, words that follow without one."""

NOWHERE = -1
"""The node of a reply that is inside no word of the list."""

_HANGUL = re.compile("[가-힣]")
_NOT = ("'t", "’t")


@dataclass(frozen=True, slots=True)
class Pieces:
    """How the pieces of a tokenizer are written; make it with `Pieces.of`.

    Attributes:
        split: a text to its piece ids.
        texts: of each piece, "" for the special ones.
        opens: the piece begins with a space, so a new word begins with it.
        continues: the piece begins with a letter, or is the end of "won't", so it goes on with
            the word before it.
        frees: behind the piece a word can begin without a space.
    """

    split: Callable[[str], Sequence[int]]
    texts: tuple[str, ...]
    opens: tuple[bool, ...]
    continues: tuple[bool, ...]
    frees: tuple[bool, ...]

    @classmethod
    def of(cls, split: Callable[[str], Sequence[int]], texts: Iterable[str]) -> "Pieces":
        """Reads the borders of words from the texts of all pieces."""
        texts = tuple(texts)
        return cls(
            split,
            texts,
            opens=tuple(text[:1].isspace() for text in texts),
            # "won" in "won't" is no word: what follows belongs to it, other than in "game's".
            continues=tuple(_is_letter(text[:1]) or text.lower() in _NOT for text in texts),
            frees=tuple(not _is_letter(text[-1:]) for text in texts),
        )


def is_whole(word: str, language: Language | None) -> bool:
    """Whether the word must end where it ends; Korean lets particles follow, "NPC가" as well."""
    return language != "ko" and not _HANGUL.search(word)


def _is_letter(char: str) -> bool:
    """Whether it stands inside words; so does a byte of a character that has no piece."""
    return bool(char) and (
        unicodedata.category(char)[0] in "LM" or char == "\N{REPLACEMENT CHARACTER}"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reply stands among the words of a list.

    Attributes:
        node: of the trie, or `NOWHERE`.
        is_free: a word may begin without a space.
        pending: weight of the word just read, which counts unless it goes on.
        is_sure: `pending` counts however the word goes on.
        word: the one that is pending.
        said: words that count, in order.
        realised: sum of their weights.
    """

    node: int = NOWHERE
    is_free: bool = True
    pending: float = 0.0
    is_sure: bool = False
    word: str = ""
    said: tuple[str, ...] = ()
    realised: float = 0.0

    @property
    def so_far(self) -> float:
        """Weight of all words, the one just read counted."""
        return self.realised + self.pending

    @property
    def words_so_far(self) -> tuple[str, ...]:
        return (*self.said, self.word) if self.pending else self.said


@dataclass(frozen=True, slots=True)
class PieceTrie:
    """The words of a list by their pieces; node 0 and 1 are the roots.

    Attributes:
        children: of each node, piece -> node.
        weights: of the word that ends at a node, 0 where none does.
        is_whole: whether that word must end there (English), or may go on (Korean).
        words: the word, as it stands in the list.
        paths: the pieces that lead to a node.
        forms: word of the list -> the piece paths it is found along.
    """

    pieces: Pieces
    children: list[dict[int, int]] = field(default_factory=lambda: [{}, {}])
    weights: list[float] = field(default_factory=lambda: [0.0, 0.0])
    is_whole: list[bool] = field(default_factory=lambda: [False, False])
    words: list[str] = field(default_factory=lambda: ["", ""])
    paths: list[tuple[int, ...]] = field(default_factory=lambda: [(), ()])
    forms: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, words: WordList, pieces: Pieces, *, neighbours: Iterable[tuple[int, float]] = ()
    ) -> "PieceTrie":
        """The trie of a list.

        English words are also found in their regular inflections. Words with Hangul are found
        wherever an eojeol begins with them, so that particles and endings may follow.

        Args:
            neighbours: further pieces, each a word of its own, with their weights.
        """
        trie = cls(pieces)
        for word, weight in words.weights.items():
            inflected = (form for form in inflections(word) if form not in words.excluded)
            for form in dict.fromkeys((word, *inflected)):
                if form == word or form not in words.weights:
                    trie._add(word, form, weight, is_whole=is_whole(word, words.language))
        for piece, weight in neighbours:
            word = pieces.texts[piece].strip()
            trie._insert(SPACED, (piece,), word, weight, is_whole(word, words.language))
        trie._link_phrases()
        return trie

    def advance(self, place: Place, piece: int) -> Place:
        """The place after one more piece; a word that begins inside a phrase counts with it."""
        pieces = self.pieces
        goes_on = pieces.continues[piece]
        after = self.children[place.node].get(piece) if place.node != NOWHERE else None
        if after is None and pieces.opens[piece]:
            after = self.children[SPACED].get(piece)
        elif after is None and place.is_free:
            after = self.children[BARE].get(piece)
        inside = goes_on and not (place.is_free and place.node == NOWHERE)
        node = NOWHERE if after is None else after
        weight = 0.0 if after is None else self.weights[node]
        sure = weight > 0 and not self.is_whole[node]
        word = self.words[node] if weight else ""
        said, realised = place.said, place.realised
        if inside and place.is_sure and place.pending >= weight:
            weight, sure, word = place.pending, True, place.word
        elif not inside and place.pending:
            said, realised = (*said, place.word), realised + place.pending
        return Place(node, pieces.frees[piece], weight, sure, word, said, realised)

    def _add(self, word: str, form: str, weight: float, *, is_whole: bool) -> None:
        for text in spellings(form):
            for root, written in ((SPACED, f" {text}"), (BARE, text)):
                path = tuple(self.pieces.split(written))
                self._insert(root, path, word, weight, is_whole)
                self.forms[word] = (*self.forms.get(word, ()), path)

    def _insert(
        self, root: int, path: tuple[int, ...], word: str, weight: float, is_whole: bool
    ) -> None:
        node = root
        for depth, piece in enumerate(path, start=1):
            if piece not in self.children[node]:
                self.children[node][piece] = len(self.children)
                self.children.append({})
                self.weights.append(0.0)
                self.is_whole.append(False)
                self.words.append("")
                self.paths.append(path[:depth])
            node = self.children[node][piece]
        if weight > self.weights[node]:
            self.weights[node] = weight
            self.words[node] = word
            self.is_whole[node] = is_whole

    def _link_phrases(self) -> None:
        """Lets a word be found inside a phrase that begins before it (Aho and Corasick 1975)."""
        for node in sorted(range(len(self.paths)), key=lambda node: len(self.paths[node])):
            path = self.paths[node]
            starts = [at for at in range(1, len(path)) if self.pieces.opens[path[at]]]
            inner = self._find(path[starts[-1] :]) if starts else None
            if inner is None:
                continue
            self.children[node] = self.children[inner] | self.children[node]
            if not self.weights[node]:
                self.weights[node] = self.weights[inner]
                self.words[node] = self.words[inner]
                self.is_whole[node] = self.is_whole[inner]

    def _find(self, path: tuple[int, ...]) -> int | None:
        node: int | None = SPACED
        for piece in path:
            node = self.children[node].get(piece) if node is not None else None
        return node
