"""Answers of the bot to given contexts, one line each."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chatbot.bot import Chatbot
from chatbot.controls import Controls
from chatbot.errors import ChatbotError, InputError
from chatbot.prompt import clean_text
from chatbot.types import Ranking, Reply, Sampling
from eval.jsonl import Json, Line, read_lines, resumed

ADDED = {"response", "candidates", "trace"}
"""Keys that a line gets."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the contexts of a file are answered.

    Attributes:
        seed: of line 1; line n is answered with `seed + n - 1`, whichever lines were before.
    """

    seed: int = 0
    controls: Controls = field(default_factory=Controls)
    sampling: Sampling = field(default_factory=Sampling)
    ranking: Ranking = field(default_factory=Ranking)


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
    settings: Settings,
    *,
    watch: Callable[[Sequence[Line]], Iterable[Line]] = iter,
) -> int:
    """Answers every `{"context": [...]}` of a file; the number of lines answered now.

    Args:
        out_path: gets the lines with the keys of `ADDED` beside their own.
        watch: passes on the lines that are still to be answered.

    Raises:
        InputError: a bad line, or an output of another input, model or other settings.
        UnknownAttributeError: the controls name an attribute that the bot has none of.
    """
    bot.check(settings.controls)
    lines = read_lines(in_path, check_context)
    with resumed(out_path, lines, ADDED) as output:
        n_done = len(output.done)
        for line, record in zip(lines, output.done, strict=False):
            try:
                _check_same_settings(bot, record["trace"], settings, line.number)
            except InputError as error:
                raise InputError(f"{out_path}, line {line.number}: {error}") from error
        for line in watch(lines[n_done:]):
            output.write(line.record | _answer(bot, line, settings))
    return len(lines) - n_done


def _answer(bot: Chatbot, line: Line, settings: Settings) -> Json:
    try:
        reply: Reply = bot.respond(
            line.record["context"],
            controls=settings.controls,
            seed=settings.seed + line.number - 1,
            sampling=settings.sampling,
            ranking=settings.ranking,
        )
    except ChatbotError as error:
        raise line.error(str(error)) from error
    told = reply.to_dict()
    return {"response": reply.text, "candidates": told["candidates"], "trace": told["trace"]}


def _check_same_settings(bot: Chatbot, trace: Json, settings: Settings, number: int) -> None:
    """Raises InputError where line `number`, which was answered earlier, would be another now."""
    controls = settings.controls
    wanted = {
        "model": dict(bot.backbone.identity),
        "seed": settings.seed + number - 1,
        "sampling": _as_read(settings.sampling),
        "ranking": _as_read(settings.ranking),
        "controls": None if controls == Controls() else _as_read(controls),
    }
    for key, value in wanted.items():
        _check_same(key, trace.get(key), value)
    steering = trace.get("steering")
    for name, told in steering["attributes"].items() if steering else ():
        # A list without a language is for any: English finds it too.
        bound = bot.steerer.bound(name, told["language"] or "en")
        digest = bound and bound.bag.spec.digest
        _check_same(f"the word list {name} of digest", told["digest"], digest)


def _check_same(what: str, found: object, now: object) -> None:
    if found != now:
        raise InputError(
            f"made with {what} {found}, now it is {now}; "
            "repeat the settings, or give another file for the output"
        )


def _as_read(value: Sampling | Ranking | Controls) -> Json:
    """The value as a trace in a file holds it: JSON gives back lists for tuples."""
    return json.loads(json.dumps(asdict(value)))
