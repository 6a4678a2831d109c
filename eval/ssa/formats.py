"""Knows the shapes in which people keep contexts and responses; gives back one: `Entry`.

| format | one entry is | what is scored |
|---|---|---|
| `jsonl` | `{"context": [...], "response": "..."}` | the response |
| | `{"turns": [...], "speakers": [...]?}` | every turn of a speaker who did not open |
| | `{"messages": [{"role", "content"}, ...]}` (OpenAI) | assistant messages |
| | `{"dialog": [[{"id", "text"}, ...], ...]}` (ParlAI conversations) | as `turns` |
| `csv` | a row: columns `context` (turns apart by `|||`), `response` | the response |
| `parlai` | an episode of `text:...<tab>labels:...<tab>episode_done:True` lines | the labels |
| `plain` | lines `Human: ...`, `Bot: ...` up to a blank line | as `turns` |

Without `speakers`, two people take turns. System messages of OpenAI are no turns and are left out.
A `.jsonl` file may be compressed (`.jsonl.xz`).
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatbot.errors import InputError
from eval.jsonl import Json, Line, read_lines

TURN_MARK = "|||"
"""Stands between the turns of a context in a CSV cell."""

FORMATS = ("auto", "jsonl", "csv", "parlai", "plain")
"""`auto` goes by the suffix, and where that says nothing by the first line."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A response with what was said before it.

    Attributes:
        context: turns, oldest first; one or more.
        turn: place of the response in its dialogue, from 0; None where it stands alone.
    """

    context: tuple[str, ...]
    response: str
    turn: int | None = None

    @property
    def key(self) -> str:
        """16 hexadecimal digits that are the same wherever this exchange is met."""
        return _digest([*self.context, self.response])

    @property
    def context_key(self) -> str:
        """The same, of the context alone."""
        return _digest(list(self.context))


@dataclass(frozen=True, slots=True)
class Entry:
    """A line, row, episode or conversation of a file.

    Attributes:
        line: its record and where it stands.
        exchanges: what can be scored in it; one or more.
        is_dialogue: whether it is a whole dialogue.
    """

    line: Line
    exchanges: tuple[Exchange, ...]
    is_dialogue: bool


def read_entries(path: str | Path, format: str = "auto") -> list[Entry]:
    """All entries of a file.

    Args:
        format: one of `FORMATS`.

    Raises:
        InputError: the file cannot be read, or an entry is none; the message names the line.
    """
    path = Path(path)
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}; give one of {', '.join(FORMATS)}")
    found = _format_of(path) if format == "auto" else format
    if found == "jsonl":
        entries: list[Entry] = []
        read_lines(path, lambda line: entries.append(entry_of(line)))
        return entries
    lines = _READERS[found](path)
    if not lines:
        raise InputError(f"{path} is empty; expected {found} text")
    return [entry_of(line) for line in lines]


def entry_of(line: Line) -> Entry:
    """What can be scored in a record.

    Raises:
        InputError: it has none of the shapes, or nothing to score.
    """
    record = line.record
    if "context" in record:
        return Entry(line, (_exchange(line),), is_dialogue=False)
    for name, turns_of in _DIALOGUES.items():
        if name in record:
            turns, is_reply = turns_of(line)
            found = tuple(
                Exchange(tuple(turns[:i]), turns[i], i) for i in range(1, len(turns)) if is_reply[i]
            )
            if not found:
                raise line.error(f"`{name}` has no reply to score; expected two turns or more")
            return Entry(line, found, is_dialogue=True)
    raise line.error(
        "expected `context` and `response`, or a dialogue as `turns`, `messages` or `dialog`; "
        f"the keys are {', '.join(record) or 'none'}"
    )


def _exchange(line: Line) -> Exchange:
    context, response = line.record["context"], line.record.get("response")
    if not isinstance(context, list) or not context:
        raise line.error("`context` is no list of one or more turns, oldest first")
    for place, turn in enumerate(context, start=1):
        if not isinstance(turn, str) or not turn.strip():
            raise line.error(f"turn {place} of `context` is no text or empty: {turn!r:.80}")
    if not isinstance(response, str):
        raise line.error(f"expected `response`, a string; found {response!r:.80}")
    return Exchange(tuple(context), response)


def _of_turns(line: Line) -> tuple[list[str], list[bool]]:
    turns = line.record["turns"]
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        raise line.error("`turns` is no list of strings")
    speakers = line.record.get("speakers")
    if speakers is None:
        return turns, [i % 2 == 1 for i in range(len(turns))]
    if not isinstance(speakers, list) or len(speakers) != len(turns):
        raise line.error(f"`speakers` is no list of {len(turns)} names, one for each turn")
    return turns, [speaker != speakers[0] for speaker in speakers]


def _of_messages(line: Line) -> tuple[list[str], list[bool]]:
    messages = line.record["messages"]
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise line.error("`messages` is no list of objects with `role` and `content`")
    turns, is_reply = [], []
    for place, message in enumerate(messages, start=1):
        role = message.get("role")
        if role in ("system", "developer"):
            continue
        if role not in ("user", "assistant"):
            raise line.error(f"message {place} has the role {role!r}; give user or assistant")
        turns.append(_content(line, place, message.get("content")))
        is_reply.append(role == "assistant")
    return turns, is_reply


def _content(line: Line, place: int, content: Any) -> str:
    """The text of a message, whose content OpenAI also spells as a list of parts."""
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else None for part in content]
        parts = [text for text in texts if isinstance(text, str)]
        content = "".join(parts) if len(parts) == len(texts) else None
    if not isinstance(content, str):
        raise line.error(f"message {place} has no text in `content`")
    return content


def _of_parlai_dialog(line: Line) -> tuple[list[str], list[bool]]:
    dialog = line.record["dialog"]
    try:
        acts = [(act["id"], act["text"]) for exchange in dialog for act in exchange]
    except (TypeError, KeyError) as error:
        raise line.error('`dialog` is no list of lists of {"id", "text"}') from error
    if not all(isinstance(text, str) for _, text in acts):
        raise line.error("a `text` of `dialog` is no string")
    return [text for _, text in acts], [name != acts[0][0] for name, _ in acts]


_DIALOGUES: dict[str, Callable[[Line], tuple[list[str], list[bool]]]] = {
    "turns": _of_turns,
    "messages": _of_messages,
    "dialog": _of_parlai_dialog,
}


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


# -- text formats, each to the records above


def _format_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".json", ".xz"):
        return "jsonl"
    if suffix in (".csv", ".tsv"):
        return "csv"
    first = next((text for _, text in _text_lines(path) if text.strip()), "")
    if first.lstrip().startswith("{"):
        return "jsonl"
    return "parlai" if first.startswith("text:") and "\t" in first else "plain"


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbers from 1 and lines without their ends."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, text in enumerate(file, start=1):
                yield number, text.rstrip("\n")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a file of dialogues") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}, after line {number}: {error}; expected UTF-8 text") from error


def _read_csv(path: Path) -> list[Line]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    texts = (text + "\n" for _, text in _text_lines(path))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    lines: list[Line] = []
    try:
        header = next(reader, [])
        missing = {"context", "response"} - set(header)
        if missing:
            raise InputError(
                f"{path}, line 1: no column {' and no '.join(sorted(missing))}; "
                f"the columns are {', '.join(header) or 'none'}"
            )
        begin = reader.line_num + 1
        for row in reader:
            if row:
                lines.append(_csv_line(path, begin, header, row))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; expected CSV") from error
    return lines


def _csv_line(path: Path, number: int, header: list[str], row: list[str]) -> Line:
    line = Line(path, number, dict(zip(header, row, strict=False)))
    if len(row) != len(header):
        raise line.error(f"{len(row)} cells, expected the {len(header)} of the header")
    turns = [turn.strip() for turn in line.record["context"].split(TURN_MARK)]
    return Line(path, number, line.record | {"context": turns})


def _read_parlai(path: Path) -> list[Line]:
    lines: list[Line] = []
    turns: list[str] = []
    begin = 1
    for number, text in _text_lines(path):
        if not text.strip():
            continue
        place = Line(path, number, {})
        fields = dict(part.partition(":")[::2] for part in text.split("\t"))
        said, label = fields.get("text"), fields.get("labels", fields.get("eval_labels"))
        if said is None or label is None:
            raise place.error("expected the fields text:... and labels:..., tabs between them")
        begin = begin if turns else number
        turns += [part.replace("\\n", "\n") for part in (said, label.partition("|")[0])]
        if fields.get("episode_done") == "True":
            lines.append(Line(path, begin, {"line": begin, "turns": turns}))
            turns = []
    if turns:
        lines.append(Line(path, begin, {"line": begin, "turns": turns}))
    return lines


_SPOKEN = re.compile(r"(?P<name>[^\W_][^:\t]{0,30}?)\s*:(?:\s+(?P<text>.*)|\s*)")
_BETWEEN = re.compile(r"[-=#*_]{3,}.*|(?:conversation|dialog(?:ue)?|chat)\s*#?\s*\d+\s*:?", re.I)


def _read_plain(path: Path) -> list[Line]:
    """Conversations of `Name: text` lines; an indented line goes on with the turn above it."""
    lines: list[Line] = []
    record: Json = {}
    for number, text in _text_lines(path):
        if not text.strip() or _BETWEEN.fullmatch(text.strip()):
            record = {}
            continue
        spoken = _SPOKEN.fullmatch(text)
        if text[0].isspace() and record:
            record["turns"][-1] += " " + text.strip()
        elif spoken is None:
            raise Line(path, number, {}).error(
                f"expected `Name: text`, a blank line between conversations, found {text!r:.60}"
            )
        else:
            if not record:
                record = {"line": number, "turns": [], "speakers": []}
                lines.append(Line(path, number, record))
            record["turns"].append((spoken["text"] or "").strip())
            record["speakers"].append(spoken["name"])
    return lines


_READERS: dict[str, Callable[[Path], list[Line]]] = {
    "csv": _read_csv,
    "parlai": _read_parlai,
    "plain": _read_plain,
}
