"""Knows how a turn is brought to one spelling, and how it falls into words; no model.

Corpora differ in case, in spaces before full stops and in final full stops. What judges a reply
must not see which corpus it is from, so every turn is brought to the poorest spelling of all.
"""

import re
from collections.abc import Sequence

from chatbot.prompt import clean_text

_CLITIC = re.compile(r"\s+(n't|['’](?:s|m|re|ve|ll|d|t)\b)")
_SPACED_APOSTROPHE = re.compile(r"(\w)\s+['’]\s+(s|m|re|ve|ll|d|t)\b")
_SPACE_BEFORE = re.compile(r"\s+([.,!?;:])")
_END = re.compile(r"[\s.]+$")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[\uac00-\ud7a3]+|[^\W\d_a-z]+")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")


def word_set(text: str) -> frozenset[str]:
    """The words of a list written as running text."""
    return frozenset(text.split())


FUNCTION_WORDS = word_set(
    """a about after again all also am an and any are aren't as at be because been before being
    but by can can't could couldn't did didn't do does doesn't doing don't down for from get got
    had has hasn't have haven't having he he's her here him his how i i'd i'll i'm i've if in into
    is isn't it it's its just know like let let's lot me more most much my no not now of off oh ok
    okay on one only or other our out over really she she's should so some such than that that's
    the their them then there there's these they they're thing things think this those to too up
    us very was wasn't way we we're well were what what's when where which while who why will with
    won't would wouldn't yeah yes yet you you'd you'll you're you've your yours mine one's"""
)
"""Words that tell little of what a turn is about."""


def normalise(turn: str) -> str:
    """The turn in lower case, tokenisation undone, straight apostrophes, no final full stop."""
    text = clean_text(turn).lower().replace("’", "'").replace("`", "'")
    text = _SPACED_APOSTROPHE.sub(r"\1'\2", text)
    text = _CLITIC.sub(r"\1", text)
    text = _SPACE_BEFORE.sub(r"\1", text)
    return _END.sub("", text) or text


def words(text: str) -> list[str]:
    """The words of a normalised text: English, numbers, Korean; no punctuation."""
    return _WORD.findall(text)


def is_korean(texts: Sequence[str]) -> bool:
    """Whether any of the texts has Hangul."""
    return any(_HANGUL.search(text) for text in texts)
