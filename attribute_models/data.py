"""Labelled replies to train heads on: any JSONL of text and label, read with exact errors.

A line is {"text", "label", "context"?, "split"?, "source"?}; `context` is a list of earlier turns,
oldest first, `split` is "train" (the default) or "valid". Knows nothing of models.
"""

import json
import lzma
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribute_models.base import AttributeModelError

FAMILIES = Path(__file__).with_name("families.json")

OPENERS = (
    "How are you?",
    "Hi! What's new?",
    "What happened?",
    "Tell me more.",
    "What do you think?",
)
"""Said before replies that come without a context, so that they are read as replies."""

MAX_WORDS = 40
_MIN_WORDS = 2


@dataclass(frozen=True, slots=True)
class Example:
    """A reply with its label."""

    context: tuple[str, ...]
    text: str
    label: str
    is_valid: bool
    source: str


@dataclass(frozen=True, slots=True)
class Family:
    """Labels of one kind, and where replies with them are found.

    Attributes:
        reference: the label that shows nothing; shifts are relative to it.
        sources: file patterns below a data folder, each with how its lines are read: `labels`
            (their label -> ours, others left out; empty for as they are), `field` of the label,
            `turns` to take of a dialogue, `most` lines.
    """

    name: str
    language: str
    labels: tuple[str, ...]
    reference: str
    sources: Mapping[str, Mapping[str, Any]]


def families() -> dict[str, Family]:
    """Those that are shipped, by name."""
    told = json.loads(FAMILIES.read_text(encoding="utf-8"))
    return {
        name: Family(name, one["language"], tuple(one["labels"]), one["reference"], one["sources"])
        for name, one in told.items()
    }


def read_family(family: Family, folder: str | Path) -> list[Example]:
    """All replies of a family's sources below a data folder.

    Raises:
        AttributeModelError: a source is missing or has a line that cannot be read.
    """
    examples: list[Example] = []
    for pattern, how in family.sources.items():
        files = sorted(Path(folder).glob(pattern))
        if not files:
            raise AttributeModelError(
                f"{Path(folder) / pattern} matches no file; give the folder of the data with "
                "--data, or train on a file of your own with `chatbot attributes train FILE`"
            )
        for file in files:
            examples += read_examples(file, **how)
    wanted = set(family.labels)
    return [one for one in examples if one.label in wanted]


def read_examples(
    file: str | Path,
    *,
    labels: Mapping[str, str] | None = None,
    field: str = "label",
    turns: Sequence[int] | None = None,
    most: int | None = None,
) -> list[Example]:
    """The labelled replies of a `.jsonl` or `.jsonl.xz` file.

    Args:
        labels: the file's labels -> ours; others are left out. None takes them as they are.
        field: that holds the label.
        turns: of dialogues, {"turns": [...]}: which turns have the label. None reads `text`.
        most: examples taken, the first ones.

    Raises:
        AttributeModelError: the file or a line cannot be read; the message names the line.
    """
    file = Path(file)
    split = "valid" if ".valid." in file.name else "train"
    examples = []
    for number, record in _records(file):
        try:
            label = record[field] if labels is None else labels.get(record[field])
            if label is None:
                continue
            if turns is None:
                given = [(record.get("context") or (), record["text"])]
            else:
                said = record["turns"]
                given = [(said[:turn], said[turn]) for turn in turns if turn < len(said)]
            is_valid = record.get("split", split) == "valid"
            source = str(record.get("source", file.name.partition(".")[0]))
            for context, text in given:
                if not isinstance(text, str) or isinstance(context, str):
                    raise TypeError("a text that is none, or a context that is no list")
                clean = " ".join(str(text).replace("\\n", " ").split())
                if _MIN_WORDS <= len(clean.split()) <= MAX_WORDS:
                    examples.append(
                        Example(tuple(map(str, context)), clean, str(label), is_valid, source)
                    )
        except (KeyError, TypeError, AttributeError) as error:
            raise AttributeModelError(
                f"{file}, line {number}: {error!r}; expected "
                '{"text": "...", "label": "...", "context": ["...", ...]?}'
            ) from error
        if most is not None and len(examples) >= most:
            break
    return examples


def balanced(
    examples: Iterable[Example], labels: Sequence[str], *, train: int, valid: int, seed: int
) -> list[Example]:
    """At most so many of each label and split, drawn by the seed.

    Raises:
        AttributeModelError: a label has too few examples to learn or to check.
    """
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    if not any(one.is_valid for one in shuffled):  # no split given: a tenth is kept back
        shuffled = [
            Example(one.context, one.text, one.label, at % 10 == 0, one.source)
            for at, one in enumerate(shuffled)
        ]
    taken: Counter[tuple[str, bool]] = Counter()
    kept = []
    for one in shuffled:
        key = (one.label, one.is_valid)
        if taken[key] < (valid if one.is_valid else train):
            taken[key] += 1
            kept.append(one)
    few = [label for label in labels if taken[label, False] < 20 or taken[label, True] < 2]
    if few:
        raise AttributeModelError(
            f"too few replies are labelled {', '.join(few)}; give at least 20 to learn from and 2 "
            "to check with"
        )
    return kept


def with_opener(example: Example, seed: int) -> tuple[str, ...]:
    """Its context, or an opener where it has none."""
    return example.context[-3:] or (random.Random(f"{seed}{example.text}").choice(OPENERS),)


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with (lzma.open if file.suffix == ".xz" else open)(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise AttributeModelError(f"{file}, line {number}: {error}") from error
                if not isinstance(record, dict):
                    raise AttributeModelError(f"{file}, line {number}: expected a JSON object")
                yield number, record
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise AttributeModelError(f"{file} cannot be read: {error}") from error
