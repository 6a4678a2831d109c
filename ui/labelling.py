"""Human labels of sensibleness and specificity, given in the browser and kept in a file.

Meets the evaluator through two files alone: the tasks of `chatbot eval ssa tasks`, and labels as
`chatbot eval ssa label` writes them, in the same order for the same rater. So either can go on with
the other's file, and `agree` and `report` read it; `eval/ssa/labels.py` tells the form of both.

The labels file is the only truth: it is read again at every press, so several windows agree.
"""

import hashlib
import json
import os
import random
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chatbot.errors import ChatbotError, InputError

Answer = Literal["yes", "maybe", "no"]
ANSWERS: tuple[Answer, ...] = ("yes", "maybe", "no")

_SEED = 0
"""The default of `chatbot eval ssa label`; the order is made from it and the rater's name."""

_BEGIN = b'{"task"'
"""How every line begins; what does not is another file's, and is told."""


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str
    context: Annotated[list[str], Field(min_length=1)]
    response: str
    gold: dict[str, Any] | None = None  # the known answer of a check, which is not shown


class _Label(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str
    rater: Annotated[str, Field(min_length=1)]
    sensible: Answer | None = None
    specific: Answer | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    undo: bool = False


Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rater is asked now.

    Attributes:
        place: of the response in the rater's order, from 0; `total` when all are labelled.
        done: how many are labelled.
        context: turns before the response, of two speakers in turn.
        question: "specific" comes only after a yes to "sensible".
        problem: what went wrong, in words; nothing is asked then.
    """

    place: int = 0
    done: int = 0
    total: int = 0
    context: tuple[str, ...] = ()
    response: str = ""
    question: Literal["sensible", "specific"] = "sensible"
    problem: str = ""


class Labelling:
    """One rater's way through the tasks.

    Raises:
        InputError: a file cannot be read or written, a line in it is no task or no label, a label
            is another rater's, or all labels are of other tasks.
    """

    def __init__(self, tasks_path: Path, labels_path: Path, rater: str):
        if not rater.strip():
            raise InputError("the rater has no name; give one with --rater")
        self._path, self._rater = labels_path, rater
        tasks = sorted(_read_tasks(tasks_path), key=lambda task: task.task)
        digest = hashlib.sha256(f"{_SEED}:{rater}".encode()).digest()
        random.Random(digest).shuffle(tasks)
        self._tasks = {task.task: task for task in tasks}
        self._lock = threading.Lock()
        self._since: float | None = None
        """When the present response was first asked about; unknown before the first answer."""
        self._open()

    def asked(self) -> Asked:
        """What is asked when a page opens."""
        return self.press("look", 0, "")

    def press(self, do: str, place: int, value: str) -> Asked:
        """What is asked after a press on a button.

        Args:
            do: "sensible" or "specific", with the answer as value; "undo" takes the last answer
                back; anything else asks the first question of the present response again.
            place: of the response that the window showed; where it is no longer the present one,
                nothing is written.
        """
        with self._lock:
            try:
                labels = self._read_labels()
                now = self._asked(labels)
                if place != now.place:
                    return now
                if do == "undo" and labels:
                    self._append({"task": list(labels)[-1], "rater": self._rater, "undo": True})
                elif now.place < now.total and value in ANSWERS:
                    if (do, value) == ("sensible", "yes"):
                        return replace(now, question="specific")
                    if do == "sensible":
                        self._answer(now.place, value, None)
                    elif do == "specific":
                        self._answer(now.place, "yes", value)
                return self._asked(self._read_labels())
            except ChatbotError as error:
                return Asked(place, problem=str(error))

    def _asked(self, labels: dict[str, _Label]) -> Asked:
        total = len(self._tasks)
        for place, (key, task) in enumerate(self._tasks.items()):
            if key not in labels:
                return Asked(place, len(labels), total, tuple(task.context), task.response)
        return Asked(total, total, total)

    def _answer(self, place: int, sensible: str, specific: str | None) -> None:
        record: dict[str, Any] = {
            "task": list(self._tasks)[place], "rater": self._rater,
            "sensible": sensible, "specific": specific,
        }  # fmt: skip
        if self._since is not None:
            record["seconds"] = round(time.monotonic() - self._since, 1)
        self._append(record)

    # -- the labels file

    def _open(self) -> None:
        try:
            self._path.open("ab").close()
        except OSError as error:
            raise _unwritable(self._path, error, "give another file to --labels") from error
        self._read_labels()

    def _read_labels(self) -> dict[str, _Label]:
        """Task -> label, the last answer last; a line about another set of tasks is let be."""
        labels: dict[str, _Label] = {}
        lines = _lines(self._path, is_growing=True)
        n_known = 0
        for place, line in lines:
            label = _parsed(_Label, place, line)
            if label.rater != self._rater:
                raise InputError(
                    f"{place}: is by {label.rater!r}, not {self._rater!r}; give one file per rater"
                )
            if not label.undo and label.sensible is None:
                raise InputError(f"{place}: expected `sensible`: yes, maybe or no")
            if not label.undo and (label.specific is None) == (label.sensible == "yes"):
                raise InputError(f"{place}: expected `specific` exactly where `sensible` is yes")
            if label.task not in self._tasks:
                continue
            n_known += 1
            labels.pop(label.task, None)
            if not label.undo:
                labels[label.task] = label
        if lines and not n_known:
            raise InputError(
                f"{self._path} has labels of other tasks only; give another file to --labels"
            )
        return labels

    def _append(self, record: dict[str, Any]) -> None:
        """Writes a line, which is on the disk when this returns."""
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        try:
            with self._path.open("r+b") as file:
                file.seek(file.read().rfind(b"\n") + 1)  # over a line that was cut off
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error, "the answer was not kept") from error
        self._since = time.monotonic()


def _unwritable(path: Path, error: OSError, what: str) -> ChatbotError:
    return InputError(f"cannot write {path}: {error.strerror}; {what}")


def _read_tasks(path: Path) -> list[_Task]:
    tasks = []
    for place, line in _lines(path):
        task = _parsed(_Task, place, line)
        # The hash that the form asks for; a text changed by hand would get another one's label.
        words = json.dumps([*task.context, task.response])
        if hashlib.sha256(words.encode()).hexdigest()[:16] != task.task:
            raise InputError(
                f"{place}: `task` is not that of this context and response; "
                "write tasks with `chatbot eval ssa tasks`"
            )
        tasks.append(task)
    if not tasks:
        raise InputError(f"{path} is empty; write tasks with `chatbot eval ssa tasks`")
    return tasks


def _lines(path: Path, *, is_growing: bool = False) -> list[tuple[str, str]]:
    """The lines with the place of each, for errors.

    Args:
        is_growing: leave out a last line that was cut off while it was written.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
        if last and not (is_growing and last.startswith(_BEGIN[: len(last)])):
            lines.append(last)
        return [(f"{path}, line {n}", line.decode()) for n, line in enumerate(lines, start=1)]
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give another file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected lines of UTF-8 text") from error


def _parsed(shape: type[Shape], place: str, line: str) -> Shape:
    try:
        return shape.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        raise InputError(f"{place}: {where}{problem['msg']}") from error
