"""Knows JSONL files of records: read with exact errors, written line by line, gone on with.

What the records mean, this module does not know.
"""

import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chatbot.errors import ChatbotError, InputError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a file."""

    path: Path
    number: int  # from 1
    record: Json

    def error(self, what: str) -> InputError:
        """The error that names this line."""
        return InputError(f"{self.path}, line {self.number}: {what}")


def read_lines(path: str | Path, check: Callable[[Line], None]) -> list[Line]:
    """All records of a `.jsonl` or `.jsonl.xz` file, each looked at by `check` beforehand.

    Read whole, so that a bad line is told before hours of work and not after.

    Raises:
        InputError: no such file, not readable, empty, or a line that is no JSON object.
        Whatever `check` raises.
    """
    path = Path(path)
    lines = []
    for number, text in enumerate(_texts(path), start=1):
        lines.append(Line(path, number, _object(text, f"{path}, line {number}")))
        check(lines[-1])
    if not lines:
        raise InputError(f"{path} is empty; expected one JSON object a line")
    return lines


def _texts(path: Path) -> Iterator[str]:
    n_lines = 0
    try:
        with _open(path) as file:
            for line in file:
                n_lines += 1
                yield line
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a file of one JSON object a line") from error
    except (OSError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}, after line {n_lines}: {error}; expected UTF-8 text, xz-compressed if the "
            "name ends with .xz"
        ) from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


def _object(text: str, place: str) -> Json:
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{place}: {error}; expected one JSON object") from error
    if not isinstance(record, dict):
        raise InputError(f"{place}: expected one JSON object, found {type(record).__name__}")
    return record


class Output:
    """A JSONL file that grows by whole lines and holds one for each line of an input so far.

    Attributes:
        done: the records of earlier runs.
    """

    def __init__(self, path: Path, file: IO[bytes], done: list[Json]) -> None:
        self.done = done
        self._path = path
        self._file = file

    def write(self, record: Json) -> None:
        """Appends a line, on its way to the disk when this returns.

        Raises:
            ChatbotError: the disk is full; the lines before this one are kept.
        """
        append(self._file, self._path, [record])


def append(file: IO[bytes], path: Path, records: Sequence[Json]) -> None:
    """Appends a line for each record, on their way to the disk when this returns.

    Raises:
        ChatbotError: the disk is full; the lines before these are kept.
    """
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    try:
        # A lone surrogate cannot be UTF-8; the replacement \udXXX is how JSON spells it.
        file.write(text.encode("utf-8", "backslashreplace"))
        file.flush()
    except OSError as error:
        raise ChatbotError(
            f"cannot write {path}: {error.strerror}; make room and run the command "
            "again: it goes on behind the last complete line"
        ) from error


@contextmanager
def resumed(path: str | Path, lines: list[Line], added: set[str]) -> Iterator[Output]:
    """The output file of `lines`, opened behind the lines that are complete already.

    A line cut off in the middle is written anew.

    Args:
        added: keys that a record gets beside those of its input line.

    Raises:
        InputError: the file is the input itself, cannot be opened, or holds other records.
    """
    path = Path(path)
    source = lines[0].path
    if path.suffix == ".xz":
        raise InputError(f"{path}: the output is written line by line, so give a plain .jsonl name")
    if path.exists() and path.samefile(source):
        raise InputError(f"{path} is the input itself; give another file for the output")
    try:
        file = path.open("r+b" if path.exists() else "w+b")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another file") from error
    with file:
        whole = file.read().rpartition(b"\n")[0]
        texts = whole.decode("utf-8", "replace").split("\n") if whole else []
        done = [_object(text, f"{path}, line {i}") for i, text in enumerate(texts, start=1)]
        _check_same_input(path, done, lines, added)
        end = len(whole) + 1 if whole else 0
        file.seek(end)
        file.truncate()
        yield Output(path, file, done)


def _check_same_input(path: Path, done: list[Json], lines: list[Line], added: set[str]) -> None:
    advice = "give another file for the output, or remove this one"
    if len(done) > len(lines):
        raise InputError(
            f"{path} has {len(done)} lines, more than the {len(lines)} of {lines[0].path}; {advice}"
        )
    for number, (record, line) in enumerate(zip(done, lines, strict=False), start=1):
        given = {key: value for key, value in line.record.items() if key not in added}
        if not added <= record.keys() or given != {k: record.get(k) for k in given}:
            raise InputError(
                f"{path}, line {number}: not made from line {number} of {line.path}; {advice}"
            )
