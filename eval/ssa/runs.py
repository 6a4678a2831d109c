"""Runs of a bot: static (given contexts, one response each) and interactive (conversations).

Both write scored lines onto the end of a file and go on with it. What an interactive run holds to
is the protocol of the paper (Adiwardana et al. 2020, section 2.1): opening "Hi!", 14 to 28 turns.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from chatbot.errors import ChatbotError, InputError
from chatbot.prompt import clean_text
from eval.jsonl import Json, Line, read_lines, resumed
from eval.respond import check_context
from eval.ssa.bots import Bot
from eval.ssa.formats import Exchange, entry_of
from eval.ssa.scoring import OWN, REQUIRED, ScorerLike, means, score_exchanges

CONTEXTS = Path(__file__).with_name("contexts") / "static-1.jsonl"
"""The shipped contexts."""

OPENING = "Hi!"
LEAST_TURNS, MOST_TURNS = 14, 28

_CHUNK = 8
"""Contexts answered before they are scored and written, at fixed places in the file."""

_RUN = {"bot", "seed"}

Watch = Callable[[Iterator[Json], int], Iterable[Json]]


def _all(records: Iterator[Json], _: int) -> Iterable[Json]:
    return records


def run_static(
    bot: Bot,
    scorer: ScorerLike,
    out_path: str | Path,
    *,
    contexts: str | Path = CONTEXTS,
    seed: int = 0,
    limit: int | None = None,
    watch: Watch = _all,
) -> int:
    """The bot's responses to a file of contexts, scored; the number of lines made now.

    Each line has all keys of its context and `response`, `bot`, `seed`, `contexts` (the name and
    sha256 of the file), and those of `score`. Line n is answered with `seed + n - 1`.

    Args:
        limit: only so many contexts, from the first.

    Raises:
        InputError: a bad line, or an output of another bot, seed, scorer or file of contexts.
    """
    lines = read_lines(contexts, check_context)[:limit]
    origin = {"file": Path(contexts).name, "sha256": _sha256(contexts)}
    identity = dict(scorer.identity)

    def made(line: Line) -> Json:
        return {"bot": bot.identity, "seed": seed + line.number - 1, "contexts": origin}

    with resumed(out_path, lines, {"response", "contexts"} | _RUN | REQUIRED) as output:
        n_done = len(output.done)
        for line, record in zip(lines, output.done, strict=False):
            _check_same(out_path, line, record, made(line) | {"scorer": identity})

        def records() -> Iterator[Json]:
            for begin in range(n_done - n_done % _CHUNK, len(lines), _CHUNK):
                chunk = lines[begin : begin + _CHUNK]
                exchanges = [
                    Exchange(tuple(line.record["context"]), _answer(bot, line, seed))
                    for line in chunk
                ]
                scored = score_exchanges(scorer, exchanges)
                for place, (line, one, score) in enumerate(
                    zip(chunk, exchanges, scored, strict=True), start=begin
                ):
                    if place >= n_done:
                        own = {k: v for k, v in line.record.items() if k not in OWN}
                        run = {"response": one.response} | made(line)
                        yield own | run | score | {"scorer": identity}

        for record in watch(records(), len(lines) - n_done):
            output.write(record)
    return len(lines) - n_done


def _answer(bot: Bot, line: Line, seed: int) -> str:
    try:
        return bot.answer(line.record["context"], seed + line.number - 1)
    except ChatbotError as error:
        raise type(error)(f"{line.path}, line {line.number}: {error}") from error


def run_self_chat(
    bot: Bot,
    scorer: ScorerLike,
    out_path: str | Path,
    *,
    conversations: int,
    turns: int = LEAST_TURNS,
    seed: int = 0,
    watch: Watch = _all,
) -> int:
    """Conversations of the bot with itself after "Hi!", scored; the number made now.

    Each line is a dialogue: `id`, `turns`, `speakers`, `bot`, `seed`, and the keys of `score`.
    Turn t of conversation n is drawn with seed + 1000 (n - 1) + t.

    Args:
        turns: of each conversation, the opening counted; 14 to 28.

    Raises:
        InputError: `turns` is out of range, or the output is of another bot, seed or scorer.
    """
    check_turns(turns)
    if conversations < 1:
        raise InputError(f"conversations is {conversations}; give 1 or more")
    identity = dict(scorer.identity)
    lines = [
        Line(Path(os.devnull), n, {"id": f"self-{n:04d}", "length": turns})
        for n in range(1, conversations + 1)
    ]
    with resumed(out_path, lines, {"turns", "speakers", "responses"} | _RUN | REQUIRED) as output:
        for line, record in zip(lines, output.done, strict=False):
            made = {"bot": bot.identity, "seed": seed + 1000 * (line.number - 1)}
            _check_same(out_path, line, record, made | {"scorer": identity})

        def records() -> Iterator[Json]:
            for line in lines[len(output.done) :]:
                first = seed + 1000 * (line.number - 1)
                said = [OPENING]
                while len(said) < turns:
                    said.append(bot.answer(said, first + len(said)))
                made = {"bot": bot.identity, "seed": first}
                speakers = ["opening", *["bot"] * (turns - 1)]
                yield scored_dialogue(scorer, line.record | made, said, speakers)

        for record in watch(records(), len(lines) - len(output.done)):
            output.write(record)
    return len(lines) - len(output.done)


def check_turns(turns: int) -> None:
    """Raises InputError where a conversation of the protocol has not so many turns."""
    if not LEAST_TURNS <= turns <= MOST_TURNS:
        raise InputError(f"turns is {turns}; give {LEAST_TURNS} to {MOST_TURNS}")


def scored_dialogue(
    scorer: ScorerLike, record: Json, turns: Sequence[str], speakers: Sequence[str]
) -> Json:
    """The record with turns, speakers, scores of the replies and their means."""
    record = record | {"turns": list(turns), "speakers": list(speakers)}
    exchanges = entry_of(Line(Path("-"), 1, record)).exchanges
    scores = score_exchanges(scorer, exchanges)
    told = [{"turn": e.turn} | score for e, score in zip(exchanges, scores, strict=True)]
    return record | means(scores) | {"responses": told, "scorer": dict(scorer.identity)}


def talk(
    bot: Bot,
    *,
    seed: int,
    read: Callable[[], str | None],
    say: Callable[[str], None],
    most_turns: int = MOST_TURNS,
) -> list[str]:
    """A conversation of a person with the bot; its turns.

    Args:
        read: the person's next turn; None to leave.
        say: shows something to the person.
    """
    turns: list[str] = []
    while len(turns) + 1 < most_turns:
        text = OPENING if not turns else read()
        if text is None:
            break
        if not clean_text(text):
            continue
        if not turns:
            say(f"you> {OPENING}")
        turns.append(clean_text(text))
        turns.append(bot.answer(turns, seed + len(turns)))
        say(f"bot> {turns[-1]}")
    return turns


def _check_same(path: str | Path, line: Line, record: Json, wanted: Json) -> None:
    for key, value in wanted.items():
        if record.get(key) != value:
            raise InputError(
                f"{path}, line {line.number}: made with {key} {record.get(key)}, now it is "
                f"{value}; repeat the settings, or give another file for the output"
            )


def _sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def append_conversation(
    scorer: ScorerLike, bot: Bot, turns: Sequence[str], seed: int, out_path: str | Path
) -> None:
    """Puts a person's conversation with the bot, scored, at the end of a file.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(out_path)
    try:
        data = path.read_bytes() if path.exists() else b""
        newline = b"\n"
        whole = data[: data.rfind(newline) + 1]  # without a line cut off in the middle
        speakers = ["bot" if place % 2 else "person" for place in range(len(turns))]
        made = {"id": f"person-{whole.count(newline) + 1:04d}", "bot": bot.identity, "seed": seed}
        text = json.dumps(scored_dialogue(scorer, made, turns, speakers), ensure_ascii=False)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(len(whole))
            file.truncate()
            file.write((text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another file") from error
