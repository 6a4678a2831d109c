"""Texts as hashed parts of their words: runs of letters, syllables, words, pairs of words.

Hangul is taken apart into its letters (jamo), so that a stem is known again under another ending.
There is no vocabulary: a part is the number of a bucket, which it may share with others. Pure
Python; knows nothing of what is learned about the buckets.
"""

import re
import unicodedata
import zlib
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_LEAST_HANGUL = 0.2
"""Of the letters of a text, above which it counts as Korean: names and terms are Latin there."""

_WORD = re.compile(r"\w+|[^\w\s]+")
_LONG_RUN = re.compile(r"(.)\1{2,}")
_MOST_LETTERS = 24
"""Of a word; what is longer is no word."""


def split_words(text: str) -> list[str]:
    """Words and runs of signs in lower case; three and more of a sign count as two."""
    return _WORD.findall(_LONG_RUN.sub(r"\1\1", unicodedata.normalize("NFKC", text).lower()))


def hangul_share(text: str) -> float:
    """Of the letters of a text, those that are Hangul; 0 where there are none."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(_is_hangul, letters)) / len(letters) if letters else 0.0


def is_korean(text: str) -> bool:
    """Whether a text is Korean for what has one measure for Korean texts and one for all others."""
    return hangul_share(text) > _LEAST_HANGUL


def _is_hangul(letter: str) -> bool:
    return "가" <= letter <= "힣" or "ㄱ" <= letter <= "ㆎ" or "ᄀ" <= letter <= "ᇿ"


@lru_cache(maxsize=150_000)
def word_parts(word: str, buckets: int) -> tuple[int, ...]:
    """Buckets of the parts of a word: itself, 1-2 syllables, 4 letters."""
    marked = f"<{word[:_MOST_LETTERS]}>"
    parts = [f"w{marked}"]
    parts += [f"s{marked[i : i + n]}" for n in (1, 2) for i in range(len(marked) - n + 1)]
    letters = unicodedata.normalize("NFD", marked)
    parts += [f"j{letters[i : i + 4]}" for i in range(len(letters) - 3)]
    return tuple(zlib.crc32(part.encode("utf-8", "replace")) % buckets for part in parts)


def text_parts(text: str, buckets: int, *, block: int = 0) -> NDArray[np.int64]:
    """Buckets of the parts of all words and of the pairs of neighbours, each once, sorted.

    Args:
        block: texts of different roles get different buckets.
    """
    words = split_words(text)
    found = {part for word in words for part in word_parts(word, 1 << 32)}
    found.update(zlib.crc32(f"b{a} {b}".encode("utf-8", "replace")) for a, b in pairwise(words))
    # A multiplicative hash spreads the block over all bits (Knuth, volume 3, section 6.4).
    salt = (block * 2_654_435_761) & 0xFFFFFFFF
    return np.array(sorted({(part ^ salt) % buckets for part in found}), np.int64)
