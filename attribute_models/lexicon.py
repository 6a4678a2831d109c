"""Reads word lists and knows in which forms a word of a list is written.

A list is a text file with one word a line, or a phrase; a weight may follow behind a tab. Knows
nothing of tokenizers or models.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["en", "ko"]

LEXICONS = Path(__file__).parent / "lexicons"

_HANGUL = re.compile("[가-힣ㄱ-ㅣ]")
_LETTER = re.compile(r"[^\W\d_]")
_ENGLISH_WORD = re.compile("[a-z]{3,}")
_SHORT_VOWEL_END = re.compile("[^aeiou][aeiou][bdgklmnprt]")


class LexiconError(ValueError):
    """A word list cannot be used; the message names the file, the line and what to write."""


@dataclass(frozen=True, slots=True)
class WordList:
    """The words of one attribute in one language.

    Attributes:
        name: of the attribute.
        language: the replies it can steer; None for replies in any language.
        weights: word or phrase -> how much one use of it counts, above 0, at most 1.
        excluded: forms that are not to count, though inflection would make them.
        digest: SHA-256 of name, language and words.
    """

    name: str
    language: Language | None
    weights: Mapping[str, float]
    excluded: frozenset[str]
    digest: str


def load_list(path: str | Path, *, name: str | None = None) -> WordList:
    """The word list in a file of one's own; its language is read from its letters.

    Args:
        path: a UTF-8 text file.
        name: of the attribute; the file's name without its ending if left out.

    Raises:
        LexiconError: the file is missing, empty, not UTF-8, or a line of it cannot be read.
    """
    file = Path(path).expanduser()
    return _read(file, name or file.stem, _written_in)


def shipped_lists(folder: Path = LEXICONS) -> dict[str, tuple[Path, ...]]:
    """Attribute name -> its files, one for each language, from `lexicons/LANGUAGE/NAME.txt`."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*/*.txt")):
        found.setdefault(file.stem, []).append(file)
    return {name: tuple(files) for name, files in sorted(found.items())}


def load_shipped(file: Path) -> WordList:
    """One list of `shipped_lists`."""
    language: Language = "ko" if file.parent.name == "ko" else "en"
    return _read(file, file.stem, lambda words: language)


def language_of(text: str) -> Language | None:
    """Korean where at least a third of the letters are Hangul; None without letters."""
    letters = len(_LETTER.findall(text))
    if not letters:
        return None
    return "ko" if 3 * len(_HANGUL.findall(text)) >= letters else "en"


def language_of_turns(turns: Sequence[str]) -> Language:
    """Of the newest turn that has letters; English if none has."""
    return next((found for turn in reversed(turns) if (found := language_of(turn))), "en")


def spellings(word: str) -> tuple[str, ...]:
    """The word as it stands inside a sentence, at its beginning, and as an acronym.

    >>> spellings("happy"), spellings("fps"), spellings("게임")
    (('happy', 'Happy'), ('fps', 'Fps', 'FPS'), ('게임',))
    """
    forms = [word, word[:1].upper() + word[1:]]
    if word.isascii() and len(word) <= 3:
        forms.append(word.upper())
    return tuple(dict.fromkeys(forms))


def inflections(word: str) -> tuple[str, ...]:
    """Regular English plural, third person, past and -ing forms, real or not.

    >>> inflections("smile"), inflections("party")
    (('smiles', 'smiled', 'smiling'), ('parties', 'partied', 'partying'))
    """
    if not _ENGLISH_WORD.fullmatch(word) or word.endswith(("ed", "ing", "ly", "ous")):
        return ()
    if word.endswith("e"):
        return f"{word}s", f"{word}d", f"{word[:-1]}ing"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies", f"{word[:-1]}ied", f"{word}ing"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es", f"{word}ed", f"{word}ing"
    stem = word + word[-1] if _SHORT_VOWEL_END.fullmatch(word[-3:]) and len(word) < 5 else word
    return f"{word}s", f"{stem}ed", f"{stem}ing"


def _read(
    file: Path, name: str, language_of_words: Callable[[Iterable[str]], Language | None]
) -> WordList:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LexiconError(
            f"cannot read the word list {file}: {error}; give a UTF-8 text file, one word a line"
        ) from error
    weights: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            word, weight = _entry(line, f"{file}, line {number}")
            if word in weights:
                raise LexiconError(f"{file}, line {number}: {word!r} stands twice; leave one")
            weights[word] = weight
    kept = {word: weight for word, weight in weights.items() if weight}
    if not kept:
        raise LexiconError(f"{file} has no words; write one on each line")
    language = language_of_words(kept)
    content = "\n".join([name, str(language), *(f"{w}\t{weights[w]}" for w in sorted(weights))])
    return WordList(
        name,
        language,
        kept,
        frozenset(weights.keys() - kept.keys()),
        hashlib.sha256(content.encode()).hexdigest(),
    )


def _entry(line: str, place: str) -> tuple[str, float]:
    word, tab, weight = line.partition("\t")
    word = " ".join(unicodedata.normalize("NFC", word).split())
    if not _LETTER.search(word):
        raise LexiconError(f"{place}: expected a word, found {line!r:.60}")
    try:
        value = float(weight) if tab else 1.0
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise LexiconError(
            f"{place}: expected a weight from 0 to 1 behind the tab, found {weight!r:.60}"
        )
    return word, value


def _written_in(words: Iterable[str]) -> Language | None:
    """The one language of all words; None where they are mixed."""
    korean = {bool(_HANGUL.search(word)) for word in words}
    return None if len(korean) == 2 else "ko" if korean == {True} else "en"
