"""Knows how a conversation becomes the ids the encoder reads, in training as at run time.

Each kept turn, oldest first, is a speaker marker followed by its pieces:

    <user> Hi! <bot> Hello, how are you? <user> Fine, and you?

The turn to be answered is always the `<user>` one, so the model always writes as `<bot>`,
whoever of the two people spoke in the corpus. The decoder reads `<bos>` + pieces and is asked
for pieces + `<eos>`. This module does not know how text becomes pieces.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

PAD = "<pad>"
BOS = "<bos>"
EOS = "<eos>"
USER = "<user>"
BOT = "<bot>"
MASK = "<mask>"

SPECIAL_TOKENS = (PAD, BOS, EOS, USER, BOT, MASK)
"""The special tokens; their ids are their places here, 0 to 5."""

MAX_TURNS = 7
"""Turns of context at most, as in Meena (Adiwardana et al. 2020, section 3.1)."""

MAX_TOKENS = 128
"""Ids of context at most, markers counted."""


# Kept on purpose: U+200D, which joins emoji. Lone surrogates cannot be encoded at all.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

_LONG_RUN = re.compile(r"([^\s\d]{1,3}?)\1{7,}")


def clean_text(text: str) -> str:
    """The text in NFC, without control characters, white space collapsed to single spaces."""
    text = _UNWANTED.sub("", text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def shortened_runs(text: str) -> str:
    """The text with one to three signs that come eight times in a row, and more, taken three times.

    A model that reads hundreds of one sign writes it too, in this turn and in those after it.

    >>> shortened_runs("zzzzzzzzzz, 100000000!"), shortened_runs("hahahahahahahahaha")
    ('zzz, 100000000!', 'hahaha')
    """
    return _LONG_RUN.sub(r"\1\1\1", text)


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids of the special tokens."""

    pad: int
    bos: int
    eos: int
    user: int
    bot: int
    mask: int


SPECIAL_IDS = SpecialIds(*range(len(SPECIAL_TOKENS)))
"""The ids every tokenizer of this project gives the special tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the encoder reads, with what had to be left out of it.

    Attributes:
        ids: exactly the encoder's input, no padding.
        dropped_turns: oldest turns left out as a whole.
        truncated_pieces: pieces cut from the left of the last turn, which did not fit alone.
    """

    ids: tuple[int, ...]
    dropped_turns: int
    truncated_pieces: int


def build_context(
    turns: Sequence[Sequence[int]],
    special: SpecialIds,
    *,
    max_turns: int = MAX_TURNS,
    max_tokens: int = MAX_TOKENS,
) -> Prompt:
    """The encoder's input for a conversation whose last turn is to be answered.

    Args:
        turns: pieces of each turn, oldest first; at least one turn.
        special: ids of the markers.
        max_turns: turns kept at most, at least 1.
        max_tokens: ids kept at most, markers counted, at least 2.

    Raises:
        ValueError: no turns, or a limit below its least value.
    """
    if not turns:
        raise ValueError("no turns; the prompt needs at least the turn to be answered")
    if max_turns < 1 or max_tokens < 2:
        raise ValueError(
            f"max_turns={max_turns} and max_tokens={max_tokens}; the least are 1 and 2, "
            "room for one turn with its marker and one piece"
        )
    kept, room = 0, max_tokens
    for pieces in reversed(turns[-max_turns:]):
        room -= 1 + len(pieces)
        if room < 0:
            break
        kept += 1
    if kept == 0:  # the last turn alone is too long: its newest pieces stay
        ids = (special.user, *turns[-1][1 - max_tokens :])
        return Prompt(ids, len(turns) - 1, 1 + len(turns[-1]) - max_tokens)
    return Prompt(_mark(turns[-kept:], special), len(turns) - kept, 0)


def _mark(turns: Sequence[Sequence[int]], special: SpecialIds) -> tuple[int, ...]:
    """The turns joined, each behind its marker; the last is `<user>`."""
    ids: list[int] = []
    for turns_after, pieces in zip(range(len(turns) - 1, -1, -1), turns, strict=True):
        ids.append(special.bot if turns_after % 2 else special.user)
        ids.extend(pieces)
    return tuple(ids)
