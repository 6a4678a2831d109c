"""Labelled replies to train heads on: any JSONL of text and label, read with exact errors.

A line is {"text", "label", "context"?, "split"?, "source"?}; `context` is a list of earlier turns,
oldest first, `split` is "train" (the default) or "valid". Dialogues without labels are labelled
by a rule, turn by turn. Knows nothing of models.
"""

import json
import lzma
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribute_models.base import AttributeModelError
from attribute_models.stance import stance_of

FAMILIES = Path(__file__).with_name("families.json")

OPENERS = {
    "en": (
        "How are you?",
        "Hi! What's new?",
        "What happened?",
        "Tell me more.",
        "What do you think?",
    ),
    "ko": (
        "잘 지내?",
        "안녕! 요즘 어때?",
        "무슨 일이야?",
        "좀 더 얘기해 줘.",
        "어떻게 생각해?",
    ),
}
"""Said before replies that come without a context, so that they are read as replies."""

RULES: Mapping[str, Callable[[str], str | None]] = {"stance": stance_of}
"""That label a text, or do not."""

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
        train: replies of each label that are learned from, at most.
        in_all: trained when all are; others only by their names, as they were not found to help.
        sources: file patterns below a data folder, each with how its lines are read: `labels`
            (their label -> ours, others left out; empty for as they are), `field` of the label,
            `turns` to take of a dialogue, `rule` that labels the turns of dialogues, `most`
            examples.
    """

    name: str
    language: str
    labels: tuple[str, ...]
    reference: str
    sources: Mapping[str, Mapping[str, Any]]
    train: int = 6_000
    in_all: bool = True


def families() -> dict[str, Family]:
    """Those that are shipped, by name."""
    told = json.loads(FAMILIES.read_text(encoding="utf-8"))
    return {
        name: Family(name=name, **{**one, "labels": tuple(one["labels"])})
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
    rule: str | None = None,
    most: int | None = None,
) -> list[Example]:
    """The labelled replies of a `.jsonl` or `.jsonl.xz` file.

    Args:
        labels: the file's labels -> ours; others are left out. None takes them as they are.
        field: that holds the label.
        turns: of dialogues, {"turns": [...]}: which turns have the label. None reads `text`.
        rule: of `RULES`, labels every turn but the first of dialogues, {"turns": [...]}.
        most: examples taken, the first ones.

    Raises:
        AttributeModelError: the file or a line cannot be read; the message names the line.
    """
    file = Path(file)
    split = "valid" if ".valid." in file.name else "train"
    examples = []
    for number, record in _records(file):
        try:
            given = (
                _by_rule(record, RULES[rule])
                if rule is not None
                else _labelled(record, labels, field, turns)
            )
            is_valid = record.get("split", split) == "valid"
            source = str(record.get("source", file.name.partition(".")[0]))
            for context, text, label in given:
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


def _labelled(
    record: Mapping[str, Any],
    labels: Mapping[str, str] | None,
    field: str,
    turns: Sequence[int] | None,
) -> list[tuple[Any, Any, str]]:
    """The contexts, texts and labels of a line that has a label."""
    label = record[field] if labels is None else labels.get(record[field])
    if label is None:
        return []
    if turns is None:
        return [(record.get("context") or (), record["text"], label)]
    said = record["turns"]
    return [(said[:turn], said[turn], label) for turn in turns if turn < len(said)]


def _by_rule(
    record: Mapping[str, Any], rule: Callable[[str], str | None]
) -> list[tuple[Any, Any, str]]:
    """The contexts, texts and labels of the turns of a dialogue that the rule tells."""
    said = record["turns"]
    return [
        (said[max(0, turn - 3) : turn], said[turn], label)
        for turn in range(1, len(said))
        if (label := rule(said[turn])) is not None
    ]


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


def with_opener(example: Example, seed: int, language: str = "en") -> tuple[str, ...]:
    """Its context, or an opener in the language where it has none."""
    openers = OPENERS[language]
    return example.context[-3:] or (random.Random(f"{seed}{example.text}").choice(openers),)


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
