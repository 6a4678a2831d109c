"""What is measured of a reply before anything is judged: nearness to the context, rarity, habit.

Every number of a pair is made from that pair alone. This module knows no labels.

Shapes: `P` pairs, `D` dimensions of a text's vector, `C` contexts of the bank.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from eval.ssa.words import words

Floats = NDArray[np.float64]

_MISSING_IDF = 11.5
"""Of words that the corpora never say, about log of a hundred thousand."""


def text_key(text: str) -> int:
    """64 bits that stand for a text; tables hold these, so that they hold no text."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@dataclass(frozen=True, slots=True)
class Tables:
    """Counts over the dialogue corpora, by key.

    Attributes:
        idf: log of turns per turn that has the word.
        habit: log of how often the whole reply was said, to whatever.
        bank: (C, D) unit vectors of turns of all sources, which a reply should not fit.
    """

    idf: dict[int, float]
    habit: dict[int, float]
    bank: Floats

    @classmethod
    def load(cls, file: Path) -> "Tables":
        stored = load_file(file)
        return cls(
            dict(zip(stored["words"].tolist(), stored["idf"].tolist(), strict=True)),
            dict(zip(stored["replies"].tolist(), stored["habit"].tolist(), strict=True)),
            stored["bank"].astype(np.float64),
        )

    def save(self, file: Path) -> None:
        save_file(
            {
                "words": np.array(list(self.idf), np.int64),
                "idf": np.array(list(self.idf.values()), np.float16),
                "replies": np.array(list(self.habit), np.int64),
                "habit": np.array(list(self.habit.values()), np.float16),
                "bank": self.bank.astype(np.float16),
            },
            file,
        )

    def rarity(self, reply: str, *, most: int = 3) -> float:
        """Mean idf of the rarest distinct words of a normalised reply, a missing one counting 0.

        The best single feature of specificity on FED, within each of its systems too.
        """
        values = sorted((self._idf(word) for word in set(words(reply))), reverse=True)
        return sum(values[:most]) / most

    def said_anywhere(self, reply: str) -> float:
        """Log of how often the corpora have exactly this reply; 0 where it is no habit."""
        return self.habit.get(text_key(" ".join(words(reply))), 0.0)

    def _idf(self, word: str) -> float:
        return self.idf.get(text_key(word), _MISSING_IDF)
