"""Knows which turns may be learnt as replies; knows nothing of files or pieces.

The filters are those of Meena (Adiwardana et al. 2020, section 3.1), with deviations: letters are
counted among characters other than spaces and sentence marks, so that short replies such as "Hi!"
are kept, because greetings matter; a filtered reply stays in the context of later ones, only a
URL ends the dialogue; there is no classifier for unsafe text here, the corpora come cleaned of
slurs.
"""

import re

from chatbot.prompt import MAX_TOKENS

MIN_REPLY_PIECES = 2
MAX_REPLY_PIECES = MAX_TOKENS - 1
"""A reply has fewer than 128 pieces, so that labels with `<eos>` are 128 at most."""
MIN_LETTER_SHARE = 0.7
MAX_OVERLAP = 0.6
"""Share of a reply's trigrams of words that may stand in the turn before it."""
MIN_WORDS_TO_COPY = 4
"""Below this a repetition is a greeting answered ("Good night!"), not a copy."""

_URL = re.compile(r"https?://|www\.\w|\b[\w-]+\.(?:com|org|net|io|co\.kr)\b", re.IGNORECASE)
_NOT_A_LETTER = re.compile(r"[\W\d_]+")
_SPACE_OR_SENTENCE_MARK = re.compile(r"[\s.,!?'\"~\u2026]+")


def has_url(text: str) -> bool:
    """Whether the text names a web address."""
    return "." in text and _URL.search(text) is not None


def letter_share(text: str) -> float:
    """Share of letters, Hangul among them, in what is neither space nor sentence mark; 0 to 1."""
    n_counted = len(_SPACE_OR_SENTENCE_MARK.sub("", text))
    return len(_NOT_A_LETTER.sub("", text)) / n_counted if n_counted else 0.0


def copies(text: str, parent: str) -> bool:
    """Whether most trigrams of words of `text` stand in `parent`; never for a short text."""
    words = text.lower().split()
    if len(words) < MIN_WORDS_TO_COPY:
        return False
    parent_words = parent.lower().split()
    seen = set(zip(parent_words, parent_words[1:], parent_words[2:], strict=False))
    if not seen:
        return False
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return sum(trigram in seen for trigram in trigrams) > MAX_OVERLAP * len(trigrams)


def why_no_reply(text: str, *, parent: str, n_pieces: int) -> str | None:
    """The name of the filter that keeps `text` from being learnt as a reply, or None."""
    if n_pieces < MIN_REPLY_PIECES:
        return "too_short"
    if n_pieces > MAX_REPLY_PIECES:
        return "too_long"
    if letter_share(text) < MIN_LETTER_SHARE:
        return "few_letters"
    if copies(text, parent):
        return "copies_parent"
    return None
