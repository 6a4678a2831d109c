"""Labelling at the prompt: one rater, one key per answer."""

import time
from collections.abc import Callable
from typing import Literal

from eval.ssa.labels import QUESTIONS, Answer, LabelSession, Task

_Typed = Answer | Literal["undo", "quit"]

_KEYS: dict[str, Answer] = {"y": "yes", "m": "maybe", "n": "no"}

HELP = """\
y yes   m maybe   n no   u take the last answer back   q leave (what is answered is kept)"""


class TerminalLabels:
    """Asks a `LabelSession` through two functions, so that it runs without a terminal too.

    Args:
        ask: the answer to a prompt; raises EOFError when there is no more.
        say: shows a line.
    """

    def __init__(
        self, session: LabelSession, *, ask: Callable[[str], str], say: Callable[[str], None]
    ):
        self._session, self._ask, self._say = session, ask, say

    def run(self) -> None:
        """Asks until everything is labelled or the rater leaves."""
        for name, question in QUESTIONS.items():
            self._say(f"{name.capitalize()}: {question}")
        self._say(HELP)
        while (task := self._session.current) is not None:
            self._show(task)
            begin = time.monotonic()
            sensible = self._answer("sensible")
            if sensible == "undo":
                self._undo()
                continue
            if sensible == "quit":
                break
            specific = self._answer("specific") if sensible == "yes" else None
            if specific == "undo":  # of the task half answered: it is asked again
                continue
            if specific == "quit":
                break
            self._session.answer(sensible, specific, seconds=time.monotonic() - begin)
        self._close()

    def _show(self, task: Task) -> None:
        progress = self._session.progress
        self._say(f"\n{progress.done + 1} of {progress.total}")
        for place, turn in enumerate(task.context):
            self._say(f"   {'AB'[place % 2]}: {turn}")
        self._say(f"-> {'AB'[len(task.context) % 2]}: {task.response}")

    def _answer(self, name: str) -> _Typed:
        while True:
            try:
                typed = self._ask(f"{name}? [y/m/n] ").strip().lower()[:1]
            except EOFError:
                return "quit"
            if typed in _KEYS:
                return _KEYS[typed]
            if typed in ("u", "q"):
                return "undo" if typed == "u" else "quit"
            self._say(HELP)

    def _undo(self) -> None:
        if not self._session.undo():
            self._say("There is nothing to take back.")

    def _close(self) -> None:
        progress = self._session.progress
        self._say(f"\n{progress.done} of {progress.total} labelled.")
        if progress.gold_seen:
            self._say(f"Checks as known: {progress.gold_right} of {progress.gold_seen}.")
