"""Labelling by people: what is asked next, what was answered, where it is kept.

Knows neither terminal nor web page: both ask a `LabelSession` and give it answers. They may also
meet it through its two files alone, JSONL in UTF-8:

Tasks, one a line, in no particular order, without any word of the systems that made the responses:

    {"task": "9f0c...", "context": ["Hi!", ...], "response": "...",
     "gold": {"sensible": "yes", "specific": "no"}}

`task` is the 16 hexadecimal digits of `Exchange.key`, a hash of context and response: scored files
carry it as `key`, so labels find their responses again, and the same response of two systems is
labelled once. `gold`, mostly absent, holds the known answers of a check; it is not shown.

Labels, one file per rater, only ever appended to; the last line about a task counts:

    {"task": "9f0c...", "rater": "anna", "sensible": "yes", "specific": "maybe", "seconds": 3.2}
    {"task": "9f0c...", "rater": "anna", "undo": true}

`sensible` and `specific` are "yes", "maybe" or "no"; `specific` is null exactly where sensible is
not "yes", for then it is not asked (Adiwardana et al. 2020, section 2.2). Only "yes" counts
(Thoppilan et al. 2022). `seconds` may be absent.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chatbot.errors import ChatbotError, InputError
from eval.jsonl import Json, Line, read_lines
from eval.ssa.formats import Exchange, read_entries

Answer = Literal["yes", "maybe", "no"]
ANSWERS: tuple[Answer, ...] = ("no", "maybe", "yes")
"""From low to high."""

RATERS = 5
"""People per response in the paper; the label is their majority."""

QUESTIONS = {
    "sensible": (
        "Does the response make sense after this conversation? If anything seems off "
        "(confusing, illogical, out of context, factually wrong), it does not."
    ),
    "specific": (
        "Is it specific to this conversation? It is not if it would do as well in dozens of others."
    ),
}
"""Shown with every response."""


@dataclass(frozen=True, slots=True)
class Task:
    """A response to label; `gold` is the known answer of a check."""

    key: str
    context: tuple[str, ...]
    response: str
    gold: "Label | None" = None


@dataclass(frozen=True, slots=True)
class Label:
    """What one rater says of a response."""

    sensible: Answer
    specific: Answer | None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.specific is not None) != (self.sensible == "yes"):
            raise InputError(
                f"specific is {self.specific!r} where sensible is {self.sensible!r}; "
                "it is asked exactly where a response is sensible"
            )

    @property
    def is_sensible(self) -> bool:
        return self.sensible == "yes"

    @property
    def is_specific(self) -> bool:
        return self.specific == "yes"


# -- tasks


Shape = TypeVar("Shape", bound=BaseModel)


class _Gold(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sensible: Answer
    specific: Answer | None = None


class _TaskLine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str
    context: Annotated[list[str], Field(min_length=1)]
    response: str
    gold: _Gold | None = None


class _LabelLine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str
    rater: Annotated[str, Field(min_length=1)]
    sensible: Answer | None = None
    specific: Answer | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    undo: bool = False


def make_tasks(
    files: Sequence[str | Path],
    *,
    gold: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """The distinct responses of files in any format of `formats`, shuffled, blind.

    Args:
        gold: lines of context, response, and `gold` with the known answers, mixed in.
        limit: so many responses, picked at random; as many of each file as there are, in turn.

    Raises:
        InputError: a file cannot be read; the message names the line.
    """
    rng = random.Random(seed)
    pools = []
    for file in files:
        exchanges = [one for entry in read_entries(file) for one in entry.exchanges]
        rng.shuffle(exchanges)
        pools.append(list({one.key: one for one in exchanges}.values()))
    picked: dict[str, Task] = {}
    for place in range(max(map(len, pools), default=0)):
        for pool in pools:
            if place < len(pool) and (limit is None or len(picked) < limit):
                picked.setdefault(pool[place].key, _task(pool[place]))
    for line in read_lines(gold, _check_gold) if gold else ():
        picked[_gold_task(line).key] = _gold_task(line)
    tasks = list(picked.values())
    rng.shuffle(tasks)
    return tasks


def _task(exchange: Exchange, gold: Label | None = None) -> Task:
    return Task(exchange.key, exchange.context, exchange.response, gold)


def _check_gold(line: Line) -> None:
    _gold_task(line)


def _gold_task(line: Line) -> Task:
    record = {name: line.record.get(name) for name in ("context", "response", "gold")}
    parsed = _parsed(_TaskLine, record | {"task": ""}, line)
    if parsed.gold is None:
        raise line.error('expected `gold`, such as {"sensible": "yes", "specific": "no"}')
    exchange = Exchange(tuple(parsed.context), parsed.response)
    return _task(exchange, _label(parsed.gold, line))


def write_tasks(tasks: Iterable[Task], path: str | Path) -> None:
    """Writes the tasks file; the form stands in the docstring of this module."""
    lines = []
    for task in tasks:
        record: Json = {"task": task.key, "context": list(task.context), "response": task.response}
        if task.gold:
            record["gold"] = {"sensible": task.gold.sensible, "specific": task.gold.specific}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    try:
        Path(path).write_text("".join(lines), "utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another file") from error


def read_tasks(path: str | Path) -> list[Task]:
    """The tasks of a file of `write_tasks`.

    Raises:
        InputError: a line is no task, or its key is not that of its context and response.
    """
    return [_read_task(line) for line in read_lines(path, lambda line: None)]


def _read_task(line: Line) -> Task:
    parsed = _parsed(_TaskLine, line.record, line)
    exchange = Exchange(tuple(parsed.context), parsed.response)
    if exchange.key != parsed.task:
        raise line.error(
            f"`task` is {parsed.task!r:.40}, but context and response make {exchange.key!r}; "
            "write tasks with `chatbot eval ssa tasks`"
        )
    return _task(exchange, _label(parsed.gold, line) if parsed.gold else None)


def _parsed(shape: type[Shape], record: Json, line: Line) -> Shape:
    try:
        return shape.model_validate(record)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise line.error(f"{place}: {problem['msg']}") from error


def _label(given: _Gold | _LabelLine, line: Line) -> Label:
    if given.sensible is None:
        raise line.error("expected `sensible`: yes, maybe or no")
    try:
        return Label(given.sensible, given.specific, getattr(given, "seconds", None))
    except InputError as error:
        raise line.error(str(error)) from error


# -- labels


def read_labels(paths: Sequence[str | Path]) -> dict[str, dict[str, Label]]:
    """Task -> rater -> label, of the files of all raters.

    Raises:
        InputError: a line is no label.
    """
    found: dict[str, dict[str, Label]] = {}
    for path in paths:
        for line in read_lines(path, lambda line: None):
            parsed = _parsed(_LabelLine, line.record, line)
            if parsed.undo:
                found.get(parsed.task, {}).pop(parsed.rater, None)
            else:
                found.setdefault(parsed.task, {})[parsed.rater] = _label(parsed, line)
    return {task: given for task, given in found.items() if given}


def majority(labels: Iterable[Label]) -> tuple[float, float]:
    """Sensible and specific, each 1 where more than half of the raters say yes, else 0.

    As in the paper, 3 of 5. A rater who says not sensible says not specific, so specific is at
    most sensible.
    """
    given = list(labels)
    return (
        float(2 * sum(one.is_sensible for one in given) > len(given)),
        float(2 * sum(one.is_specific for one in given) > len(given)),
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rater is, and on how many checks the answer was the known one."""

    done: int
    total: int
    gold_right: int
    gold_seen: int


class LabelSession:
    """One rater's way through the tasks; every answer is on its way to the disk when given.

    The order is the rater's own, made from `seed` and the name, so that what comes late for one
    comes early for another.
    """

    def __init__(self, tasks: Sequence[Task], path: str | Path, rater: str, *, seed: int = 0):
        if not rater.strip():
            raise InputError("the rater has no name; give one, so that several can be told apart")
        self.rater = rater
        self._path = Path(path)
        digest = hashlib.sha256(f"{seed}:{rater}".encode()).digest()
        self._tasks = sorted(tasks, key=lambda task: task.key)
        random.Random(digest).shuffle(self._tasks)
        self._known = {task.key: task for task in self._tasks}
        self._labels: dict[str, Label] = {}
        self._order: list[str] = []
        if self._path.exists() and self._path.stat().st_size:
            self._read()

    def _read(self) -> None:
        self._drop_torn_line()
        for line in read_lines(self._path, lambda line: None) if self._path.stat().st_size else ():
            parsed = _parsed(_LabelLine, line.record, line)
            if parsed.rater != self.rater:
                raise line.error(f"is by {parsed.rater!r}, not {self.rater!r}; one file per rater")
            if parsed.task not in self._known:
                continue  # of another set of tasks in the same file
            if parsed.undo:
                self._forget(parsed.task)
            else:
                self._remember(parsed.task, _label(parsed, line))

    def _drop_torn_line(self) -> None:
        data = self._path.read_bytes()
        tail = data[data.rfind(b"\n") + 1 :]
        begin = b'{"task"'
        # Only what begins as our lines do: a wrong file shall not lose its last line.
        if tail and (tail.startswith(begin) or begin.startswith(tail)):
            with self._path.open("r+b") as file:
                file.truncate(len(data) - len(tail))

    @property
    def current(self) -> Task | None:
        """The task to answer now; None when all are done."""
        return next((task for task in self._tasks if task.key not in self._labels), None)

    @property
    def progress(self) -> Progress:
        checks = [(self._labels[key], self._known[key].gold) for key in self._order]
        seen = [(label, gold) for label, gold in checks if gold is not None]
        right = sum(
            (label.is_sensible, label.is_specific) == (gold.is_sensible, gold.is_specific)
            for label, gold in seen
        )
        return Progress(len(self._order), len(self._tasks), right, len(seen))

    def answer(
        self, sensible: Answer, specific: Answer | None = None, *, seconds: float | None = None
    ) -> None:
        """Answers `current`.

        Raises:
            InputError: there is none, or specific is given where sensible is not "yes".
            ChatbotError: the file cannot be written.
        """
        task = self.current
        if task is None:
            raise InputError("every response is labelled; there is nothing to answer")
        label = Label(sensible, specific, None if seconds is None else round(seconds, 1))
        self._append(
            {"task": task.key, "rater": self.rater, "sensible": sensible, "specific": specific}
            | ({} if label.seconds is None else {"seconds": label.seconds})
        )
        self._remember(task.key, label)

    def undo(self) -> bool:
        """Takes the last answer back, so that its task is asked again; False if there is none."""
        if not self._order:
            return False
        key = self._order[-1]
        self._append({"task": key, "rater": self.rater, "undo": True})
        self._forget(key)
        return True

    def _remember(self, key: str, label: Label) -> None:
        self._forget(key)
        self._labels[key] = label
        self._order.append(key)

    def _forget(self, key: str) -> None:
        if self._labels.pop(key, None) is not None:
            self._order.remove(key)

    def _append(self, record: Json) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ChatbotError(
                f"cannot write {self._path}: {error.strerror}; the answer was not kept"
            ) from error


def gold_results(
    tasks: Sequence[Task], labels: Mapping[str, Mapping[str, Label]]
) -> dict[str, tuple[int, int]]:
    """Rater -> how many checks were answered as known, of how many."""
    found: dict[str, tuple[int, int]] = {}
    for task in tasks:
        if task.gold is None:
            continue
        for rater, label in labels.get(task.key, {}).items():
            right, seen = found.get(rater, (0, 0))
            same = (label.is_sensible, label.is_specific) == (
                task.gold.is_sensible,
                task.gold.is_specific,
            )
            found[rater] = (right + same, seen + 1)
    return found
