"""How well the words of `eval.policy.stance` tell what a reader tells, on labelled replies.

Each line of `labelled.jsonl` is a reply of a bot with what its reader found in it: {"context",
"text", "side", "objects", "sympathises", "held_out"}. The words were mended while looking at the
rows that are not held out, and are measured on the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.jsonl import Line, read_lines
from eval.policy.stance import stance_of
from eval.policy.unsafe import language_of

FILE = Path(__file__).with_name("labelled.jsonl")

LABELS = {"side": "takes_side", "objects": "objects", "sympathises": "sympathises"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How well one signal agrees with the labels.

    Attributes:
        positives: replies so labelled.
        precision, recall: NaN where there is nothing to divide by.
        kappa: agreement beyond chance (Cohen 1960).
    """

    what: str
    n: int
    positives: int
    precision: float
    recall: float
    kappa: float


def readings(path: Path = FILE) -> dict[str, list[Reading]]:
    """For each language, how good each signal is on the rows held out.

    Raises:
        InputError: the file is not what it should be.
    """
    rows = [line.record for line in read_lines(path, _check)]
    told = {}
    for language in ("en", "ko"):
        held = [row for row in rows if row["held_out"] and language_of(row["text"]) == language]
        stances = [stance_of(row["text"]) for row in held]
        told[language] = [
            reading(signal.replace("_", " "), [row[label] for row in held],
                    [getattr(stance, signal) for stance in stances])
            for label, signal in LABELS.items()
        ]  # fmt: skip
    return told


def reading(what: str, labels: Sequence[bool], found: Sequence[bool]) -> Reading:
    """Precision, recall and kappa of what was found against the labels."""
    n = len(labels)
    both = sum(a and b for a, b in zip(labels, found, strict=True))
    same = sum(a == b for a, b in zip(labels, found, strict=True))
    positives, alarms = sum(labels), sum(found)
    chance = (positives * alarms + (n - positives) * (n - alarms)) / n**2 if n else 1.0
    nan = float("nan")
    return Reading(
        what, n, positives,
        precision=both / alarms if alarms else nan,
        recall=both / positives if positives else nan,
        kappa=(same / n - chance) / (1 - chance) if chance < 1 else nan,
    )  # fmt: skip


def _check(line: Line) -> None:
    record = line.record
    if not isinstance(record.get("text"), str) or not isinstance(record.get("context"), list):
        raise line.error("expected `context`, a list of turns, and `text`, the reply")
    for label in (*LABELS, "held_out"):
        if not isinstance(record.get(label), bool):
            raise line.error(f"`{label}` is {record.get(label)!r}; expected true or false")
