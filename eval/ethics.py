"""Judges replies of a file by the ethics filter, one line each."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from chatbot.errors import InputError
from chatbot.ethics import EthicsFilter
from eval.jsonl import Json, Line, read_lines, resumed

ADDED = {"risk", "category", "accepted", "nearest"}
"""Keys that a line gets."""

_TOGETHER = 64
"""Lines judged by one call, before they are written."""


def check_text(line: Line) -> None:
    """Raises InputError where the line has no reply to judge."""
    text = line.record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise line.error(
            "expected `text`, the reply to judge, not empty; "
            f"the keys are {', '.join(line.record) or 'none'}"
        )
    context = line.record.get("context")
    if context is None:
        return
    if not isinstance(context, list) or not all(isinstance(turn, str) for turn in context):
        raise line.error(
            "`context` is no list of turns, oldest first; leave it out if there is none"
        )


def judge_file(
    ethics: EthicsFilter,
    in_path: str | Path,
    out_path: str | Path,
    *,
    watch: Callable[[Sequence[Line]], Iterable[Line]] = iter,
) -> int:
    """Judges every `{"text": ..., "context": [...]?}` of a file; the number of lines judged now.

    Args:
        out_path: gets the lines with the keys of `ADDED` beside their own.
        watch: passes on the lines that are still to be judged.

    Raises:
        InputError: a bad line, or an output of another input or filter.
    """
    lines = read_lines(in_path, check_text)
    with resumed(out_path, lines, ADDED) as output:
        n_done = len(output.done)
        if n_done:
            _check_same_filter(ethics, out_path, lines[0], output.done[0])
        waiting: list[Line] = []
        for line in watch(lines[n_done:]):
            waiting.append(line)
            if len(waiting) == _TOGETHER:
                _write(output.write, ethics, waiting)
                waiting = []
        _write(output.write, ethics, waiting)
    return len(lines) - n_done


def _write(write: Callable[[Json], None], ethics: EthicsFilter, lines: Sequence[Line]) -> None:
    asked = [(line.record.get("context") or (), [line.record["text"]]) for line in lines]
    for line, (verdict,) in zip(lines, ethics.assess_many(asked), strict=True):
        judged = {
            "risk": round(verdict.risk, 6),
            "category": verdict.category,
            "accepted": verdict.accepted,
            "nearest": verdict.nearest,
        }
        write(line.record | judged)


def _check_same_filter(ethics: EthicsFilter, out_path: str | Path, line: Line, done: Json) -> None:
    """Raises InputError where the first line, judged earlier, would be judged otherwise now."""
    now = ethics.assess(line.record.get("context") or [], [line.record["text"]])[0]
    if abs(now.risk - done["risk"]) > 0.01 or now.accepted != done["accepted"]:
        raise InputError(
            f"{out_path}, line 1: judged by another filter (risk {done['risk']}, now "
            f"{now.risk:.3f}); give another file for the output"
        )
