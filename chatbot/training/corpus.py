"""Knows the dialogue files: which sources there are, and how one is read as cleaned dialogues.

What of them may be learnt is `filters`' business, how they become arrays `packing`'s.
"""

import json
import lzma
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from chatbot.errors import CorpusError
from chatbot.prompt import clean_text

Split = Literal["train", "valid"]


@dataclass(frozen=True, slots=True)
class Source:
    """How a source is used.

    Attributes:
        licence: of the text, as the model card names it.
        weight: expected copies of each of its examples in an epoch of the chat stage.
        pretext_weight: the same in the pretext stage (next-passage prediction).
        is_open: its licence allows any use; not so where it is non-commercial, GPL, not stated,
            or covers the annotations but not the text.
    """

    licence: str
    weight: float = 1.0
    pretext_weight: float = 0.0
    is_open: bool = False


UNKNOWN_SOURCE = Source("not known", pretext_weight=1.0)

SOURCES: Mapping[str, Source] = {
    # English chat
    "dailydialog": Source("CC BY-NC-SA 4.0", 3.0),
    "empathetic": Source("CC BY-NC 4.0", 3.0),
    "personachat": Source("MIT", 2.5, is_open=True),
    "synthetic_persona_chat": Source("CC BY 4.0", 2.5, is_open=True),
    "chitchat": Source("MIT", 2.0, is_open=True),
    "esconv": Source("CC BY-NC 4.0", 2.0),
    "topical_chat": Source("CDLA-Sharing-1.0", 2.0, is_open=True),
    "commonsense_dialogues": Source("CC BY-NC 4.0", 2.0),
    "dream": Source("non-commercial research", 1.5),
    "locomo": Source("CC BY-NC 4.0", 1.0),
    "meld": Source("GPL-3.0 annotations of sitcom transcripts", 0.7),
    "emorynlp": Source("Apache-2.0 annotations of sitcom transcripts", 0.7),
    "personality_qna": Source("MIT", 4.0, is_open=True),
    "chatterbot": Source("BSD-3-Clause", 2.0, is_open=True),
    "self_dialogue": Source("BSD-3-Clause", 0.5, is_open=True),
    "cmu_dog": Source("CC BY-SA 3.0", 0.5, is_open=True),
    "switchboard": Source("CC BY-NC-SA 3.0", 0.3),
    "persuasion": Source("Apache-2.0", 0.3, is_open=True),
    "redial": Source("CC BY 4.0", 0.3, is_open=True),
    "ccpe": Source("CC BY 4.0", 0.3, is_open=True),
    "sgd": Source("CC BY-SA 4.0", 0.1, pretext_weight=0.3, is_open=True),
    "book_dialogues": Source("CC0 1.0, some CC BY-SA 3.0", 0.3, pretext_weight=1.0, is_open=True),
    # Korean chat: the mix its collectors suggest, times 2.5 since it is a sixteenth of the words
    "songys_chatbot": Source("MIT", 2.5, is_open=True),
    "nolicence_synth": Source("none stated", 2.5),
    "hulic_human": Source("CC BY-NC-SA 4.0", 2.5),
    "kocosa": Source("none stated, research release", 2.5),
    "hgtods_concept": Source("MIT", 2.5, is_open=True),
    "carecall_feedback": Source("CC BY-NC-SA 4.0", 2.5),
    "smilestyle": Source("CC BY-NC 4.0", 1.25),
    "chatterbot_ko": Source("BSD-3-Clause", 1.25, is_open=True),
    "hulic_bot": Source("CC BY-NC-SA 4.0", 1.0),
    "xpersona_ko": Source("MIT", 1.0, is_open=True),
    "hgtods_music": Source("MIT", 0.5, is_open=True),
    "hgtods_manual": Source("MIT", 0.25, is_open=True),
    "smilestyle_roles": Source("CC BY-NC 4.0", 0.0),
    # English running text
    "changelog": Source("CC BY-SA 4.0", pretext_weight=1.0, is_open=True),
    "talkpython": Source("GPL-3.0", pretext_weight=0.5),
    "standardebooks": Source("CC0 1.0", pretext_weight=0.5, is_open=True),
    "scp_tales": Source("CC BY-SA 3.0", pretext_weight=0.5, is_open=True),
    "openstax": Source("CC BY-NC-SA 4.0", pretext_weight=0.5),
    "opentriviaqa": Source("CC BY-SA 4.0", pretext_weight=0.3, is_open=True),
}


def source_of(name: str) -> Source:
    """How the named source is used; of one not listed, with weight 1 and not open."""
    return SOURCES.get(name, UNKNOWN_SOURCE)


_ONE_TURN_PER_LINE = frozenset({"changelog", "talkpython", "sgd"})
_QUESTION_THEN_ANSWER = frozenset({"opentriviaqa"})


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns in order, cleaned and not empty; at least one."""

    turns: tuple[str, ...]
    source: str
    lang: str


def corpus_files(folder: str | Path, *, split: Split) -> list[Path]:
    """The files of a folder that belong to a split, in order of name.

    Named `<any name>.<split>.jsonl` or `.jsonl.xz`; where a name holds no split, it is "train".

    Raises:
        CorpusError: the folder does not exist or has no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(f"no folder {folder}; give the folder of the *.jsonl.xz files")
    found = sorted(path for path in folder.iterdir() if _split_of(path) == split)
    if not found:
        raise CorpusError(
            f"{folder} has no file *.{split}.jsonl or *.{split}.jsonl.xz; check folder and split"
        )
    return found


def _split_of(path: Path) -> str | None:
    """The split that a file belongs to; None for what is no corpus file."""
    stem = path.name.removesuffix(".xz")
    if not stem.endswith(".jsonl"):
        return None
    named = stem.removesuffix(".jsonl").rpartition(".")[2]
    return named if named in ("train", "valid", "test") else "train"


def read_dialogues(path: str | Path) -> Iterator[Dialogue]:
    """The dialogues of a `.jsonl` or `.jsonl.xz` file.

    A record is either `{turns, source, lang}` or running text `{text, source}`; of the latter,
    passages become turns, so that predicting the next passage has the shape of chat. Text is
    made NFC, control characters go, white space collapses. A turn left empty ends its dialogue.

    Raises:
        CorpusError: no such file, not readable, empty, or a line of another shape.
    """
    path = Path(path)
    n_lines = 0
    for n_lines, line in enumerate(_lines(path), start=1):
        yield from _parse(line, f"{path}, line {n_lines}")
    if n_lines == 0:
        raise CorpusError(f"{path} is empty; expected one JSON object a line")


def sample_turns(files: Iterable[Path], *, max_words: int) -> Iterator[str]:
    """The turns of the files, of each source until it has given `max_words` words.

    Args:
        files: one source each; a source may have several.
    """
    n_words: Counter[str] = Counter()
    for path in files:
        for dialogue in read_dialogues(path):
            if n_words[dialogue.source] >= max_words:
                break
            n_words[dialogue.source] += sum(turn.count(" ") + 1 for turn in dialogue.turns)
            yield from dialogue.turns


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        missing = path if path.parent.is_dir() else path.parent
        raise CorpusError(f"{missing} does not exist; expected the corpus file {path}")
    n_lines = 0
    try:
        with _open(path) as lines:
            for line in lines:
                n_lines += 1
                yield line
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path}, after line {n_lines}: {error}; expected "
            f"{'xz-compressed ' if path.suffix == '.xz' else ''}UTF-8, fetch the file again"
        ) from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _parse(line: str, place: str) -> Iterator[Dialogue]:
    """The dialogues of one line; `place` is file and line for the message."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{place}: {error}; expected one JSON object") from error
    if not isinstance(record, dict) or not isinstance(record.get("source"), str):
        raise CorpusError(f"{place}: expected a JSON object with a string `source`")
    source, turns, text = record["source"], record.get("turns"), record.get("text")
    lang = record.get("lang", "en")
    if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
        parts: Iterable[Sequence[str]] = [turns]
    elif turns is None and isinstance(text, str):
        parts = passages(text, source)
    else:
        raise CorpusError(
            f"{place}: expected `turns`, a list of one or more strings, or `text`, a string; "
            f"the keys are {', '.join(record)}"
        )
    for part in parts:
        cleaned = tuple(_until_empty(part))
        if cleaned:
            yield Dialogue(cleaned, source, str(lang))


def _until_empty(turns: Iterable[str]) -> Iterator[str]:
    for turn in turns:
        text = clean_text(turn)
        if not text:
            return
        yield text


def passages(text: str, source: str) -> Iterator[list[str]]:
    """Running text as dialogues: lists of passages that follow each other.

    Transcripts keep a turn a line, long ones cut at sentence ends; a quiz gives a dialogue for
    each question; prose is grouped by sentences into passages of about 15 to 40 words.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if source in _QUESTION_THEN_ANSWER:
        yield from ([q, a] for q, a in zip(lines[::2], lines[1::2], strict=False))
    elif source in _ONE_TURN_PER_LINE:
        yield [part for line in lines for part in _cut_long_turn(line)]
    else:
        sentences = (s for line in lines for s in split_sentences(line))
        yield list(_group(sentences, least_words=15, most_words=40))


def _cut_long_turn(line: str) -> Iterator[str]:
    if line.count(" ") < 75:  # longer ones seldom fit in 127 pieces
        yield line
    else:
        yield from _group(split_sentences(line), least_words=30, most_words=60)


_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])"
    r"[.!?]+[\"')\]]*\s+(?=[\"'(\[]*[^\sa-z])"
)


def split_sentences(line: str) -> Iterator[str]:
    """The sentences of a line; joined by a space they are the line, white space aside."""
    begin = 0
    for end in _SENTENCE_END.finditer(line):
        yield line[begin : end.end()].strip()
        begin = end.end()
    if line[begin:].strip():
        yield line[begin:].strip()


def _group(sentences: Iterable[str], *, least_words: int, most_words: int) -> Iterator[str]:
    """Sentences joined until adding one would pass `most_words`, but to `least_words` anyway."""
    group: list[str] = []
    n_words = 0
    for sentence in sentences:
        n_new = sentence.count(" ") + 1
        if group and n_words >= least_words and n_words + n_new > most_words:
            yield " ".join(group)
            group, n_words = [], 0
        group.append(sentence)
        n_words += n_new
    if group:
        yield " ".join(group)
