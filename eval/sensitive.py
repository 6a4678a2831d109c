"""Which sensitive topic the messages of a file are about, and which rules fire on them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from chatbot.policy import Decision, Policy
from chatbot.prompt import clean_text
from eval.jsonl import Json, Line, read_lines, resumed

ADDED = {"topic", "score", "rules"}
"""Keys that a line gets."""

_BATCH = 16


def check_message(line: Line) -> None:
    """Raises InputError where the line has no message to read."""
    record = line.record
    if "text" not in record and "context" not in record:
        raise line.error(
            "expected `text`, a message, or `context`, a list of turns, or both; "
            f"the keys are {', '.join(record) or 'none'}"
        )
    context = record.get("context", [])
    if not isinstance(context, list):
        raise line.error(f"`context` is {type(context).__name__}; expected a list of turns")
    for place, turn in enumerate(context, start=1):
        if not isinstance(turn, str) or not clean_text(turn):
            raise line.error(f"turn {place} of `context` is no text or empty: {turn!r:.80}")
    text = record.get("text")
    if "text" in record and (not isinstance(text, str) or not clean_text(text)):
        raise line.error(f"`text` is no text or empty: {text!r:.80}")
    if not turns(record):
        raise line.error("`context` is empty and there is no `text`; give a message")


def turns(record: Json) -> list[str]:
    """The conversation of a line, oldest first: its context, then its text."""
    text = [record["text"]] if "text" in record else []
    return [clean_text(turn) for turn in [*record.get("context", []), *text]]


def sensitive_file(
    policy: Policy,
    in_path: str | Path,
    out_path: str | Path,
    *,
    watch: Callable[[Sequence[Line]], Iterable[Line]] = iter,
) -> int:
    """Reads every {"text": ...} or {"context": [...]} of a file; the number of lines read now.

    Args:
        out_path: gets the lines with `topic`, `score`, the probability of the topic, and `rules`,
            what fired. Lines already in it are kept.
        watch: passes on the lines that are still to be read.

    Raises:
        InputError: a bad line, or an output of another input.
    """
    lines = read_lines(in_path, check_message)
    with resumed(out_path, lines, ADDED) as output:
        n_done = len(output.done)
        batch: list[Line] = []
        for line in watch(lines[n_done:]):
            batch.append(line)
            if len(batch) == _BATCH or line is lines[-1]:
                given = [turns(one.record) for one in batch]
                decisions = policy.apply_many(given, [None] * len(batch))
                for one, decision in zip(batch, decisions, strict=True):
                    output.write(one.record | told(decision))
                batch = []
    return len(lines) - n_done


def told(decision: Decision) -> Json:
    """The keys of `ADDED` as they stand in a line."""
    topic = decision.topics.top
    return {
        "topic": topic,
        "score": round(decision.topics.probabilities[topic], 4),
        "rules": [
            {
                "name": fired.name,
                "probability": round(fired.probability, 4),
                "threshold": fired.threshold,
                "set": dict(fired.change.set),
                "aside": list(fired.change.aside),
            }
            for fired in decision.fired
        ],
    }
