"""Answers of the bot to given contexts, one line each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from chatbot.bot import Chatbot
from chatbot.errors import ChatbotError, InputError
from chatbot.prompt import clean_text
from chatbot.types import Reply, Sampling
from eval.jsonl import Json, Line, read_lines, resumed

ADDED = {"response", "candidates", "trace"}
"""Keys that a line gets."""


def check_context(line: Line) -> None:
    """Raises InputError where the line has no conversation to answer."""
    context = line.record.get("context")
    if not isinstance(context, list) or not context:
        raise line.error(
            "expected `context`, a list of one or more turns, oldest first; "
            f"the keys are {', '.join(line.record) or 'none'}"
        )
    for place, turn in enumerate(context, start=1):
        if not isinstance(turn, str) or not clean_text(turn):
            raise line.error(f"turn {place} of `context` is no text or empty: {turn!r:.80}")


def respond_file(
    bot: Chatbot,
    in_path: str | Path,
    out_path: str | Path,
    *,
    seed: int,
    sampling: Sampling,
    watch: Callable[[Sequence[Line]], Iterable[Line]] = iter,
) -> int:
    """Answers every `{"context": [...]}` of a file; the number of lines answered now.

    Line n, from 1, is answered with seed `seed + n - 1`, whichever lines were answered before.

    Args:
        out_path: gets the lines with the keys of `ADDED` beside their own.
        watch: passes on the lines that are still to be answered.

    Raises:
        InputError: a bad line, or an output of another input, model, seed or sampling.
    """
    lines = read_lines(in_path, check_context)
    with resumed(out_path, lines, ADDED) as output:
        n_done = len(output.done)
        for line, record in zip(lines, output.done, strict=False):
            _check_same_settings(bot, record, line.number, seed, sampling, Path(out_path))
        for line in watch(lines[n_done:]):
            output.write(line.record | _answer(bot, line, seed + line.number - 1, sampling))
    return len(lines) - n_done


def _answer(bot: Chatbot, line: Line, seed: int, sampling: Sampling) -> Json:
    try:
        reply: Reply = bot.respond(line.record["context"], seed=seed, sampling=sampling)
    except ChatbotError as error:
        raise line.error(str(error)) from error
    told = reply.to_dict()
    return {"response": reply.text, "candidates": told["candidates"], "trace": told["trace"]}


def _check_same_settings(
    bot: Chatbot, record: Json, number: int, seed: int, sampling: Sampling, out_path: Path
) -> None:
    wanted = {
        "model": dict(bot.backbone.identity),
        "seed": seed + number - 1,
        "sampling": asdict(sampling),
    }
    for key, value in wanted.items():
        found = record["trace"].get(key)
        if found != value:
            raise InputError(
                f"{out_path}, line {number}: made with {key} {found}, now it is {value}; "
                "repeat the settings, or give another file for the output"
            )
