"""Labelled replies, and made-up ones, from which the ethics filter learns.

Ordinary dialogues stand for what may be said. From labelled statements and short phrases of our
own, agreement and objection to what somebody said are made up, since few sets have them: "I agree"
is unethical after an unethical statement alone.
"""

import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.errors import TrainingError
from chatbot.ethics_probe import Language, language_of
from chatbot.exemplars import Exemplar
from chatbot.training.korean_reader import KoreanReaderLesson
from chatbot.training.turn_reader import ReaderLesson

PHRASES = Path(__file__).with_name("agreement.json")

AGREEMENT = "agreement_"
"""How the names of sources of made-up agreement begin, before the language."""


@dataclass(frozen=True, slots=True)
class Row:
    """A reply that people judged.

    Attributes:
        user: the turn it answers; empty for none.
        category: of an unethical reply; "none" otherwise.
        weight: in the loss.
        for_network: whether the network learns from it, and not the words alone.
        for_reader: whether the reader of its language learns from it as well.
    """

    text: str
    user: str
    is_unethical: bool
    category: str
    source: str
    split: str
    weight: float = 1.0
    for_network: bool = True
    for_reader: bool = False

    @property
    def language(self) -> Language:
        return language_of(self.text)


@dataclass(frozen=True, slots=True)
class Lesson:
    """How the filter is taught.

    Attributes:
        word_rows: training rows of a source at most, from which the words are learned.
        network_rows: of these, rows whose vectors the network learns from; vectors cost time.
        network_rows_of: the same for single sources.
        reader_rows: English rows that the reader of turns learns from; it costs the most.
        reader_rows_of: the same for single sources.
        dialogue_word_rows: training replies of a dialogue file at most, for the words.
        dialogue_rows: of these, those that the network learns from.
        dialogue_reader_rows: those that the reader of turns learns from.
        valid_rows: validation rows of a source at most, more where the network has many.
        agreements: made-up pairs of each kind and language.
        word_penalty: C of the logistic regression on words, higher for less shrinkage.
        dropout: of the network's features and hidden numbers.
        centroids: bank vectors of each category and side at most.
        most_rejected: share of ordinary replies that the thresholds may reject.
        aim: macro-F1 that each large source shall reach at its language's threshold.
        reader: of the reader of turns; None for none.
        korean_reader: of the reader of Korean replies, which learns from all rows that the words
            do; None for none.
    """

    word_rows: int = 20_000
    network_rows: int = 400
    network_rows_of: Mapping[str, int] = field(
        default_factory=lambda: (
            {"diasafety": 9_000, "toxichat": 800, "kodoli": 4_000}
            | dict.fromkeys(("beep", "kmhas", "hatescore", "curse", "malicious", "kosbi"), 3_000)
        )
    )
    reader_rows: int = 250
    reader_rows_of: Mapping[str, int] = field(
        default_factory=lambda: {
            "diasafety": 9_000,
            "toxichat": 4_000,
            "toxigen": 2_500,
            "sbf-v2-dev": 2_500,
            "hatemojibuild": 2_500,
            "convabuse": 1_700,
            "davidson": 1_500,
            "tweeteval": 1_500,
            "hatexplain": 800,
            "surge-toxicity": 700,
            "ethos": 700,
            "anthropic-persona": 600,
        }
    )
    dialogue_word_rows: int = 120
    dialogue_rows: int = 120
    dialogue_reader_rows: int = 60
    valid_rows: int = 120
    agreements: int = 900
    buckets: int = 1 << 20
    word_penalty: float = 5.0
    hidden: int = 128
    epochs: int = 12
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    centroids: int = 16
    most_rejected: float = 0.018
    aim: float = 0.8
    weights: Mapping[str, float] = field(
        default_factory=lambda: (
            {"diasafety": 3.0, "exemplars": 3.0, "dialogue": 2.0, "beep": 2.0, "kosbi": 1.5}
            # Long answers to requests: other than what is said in talk.
            | dict.fromkeys(("gptfuzz", "do-not-answer", "safety-tuned-llamas"), 0.5)
        )
    )
    reader: ReaderLesson | None = field(default_factory=ReaderLesson)
    korean_reader: KoreanReaderLesson | None = field(default_factory=KoreanReaderLesson)
    seed: int = 0


def read_rows(folders: Sequence[Path], lesson: Lesson) -> list[Row]:
    """Rows of all `*.jsonl[.xz]` files below the folders, in any order, thinned by source.

    A line with `turns` is a dialogue, of which one reply is taken for training and every reply for
    validation; any other has text, label (ethical or unethical), source, split, and may have
    category and context. What is drawn from a file depends on the other files of folders of its
    name, and on nothing else: a language can be read alone.

    Raises:
        TrainingError: there are no such files, or a line is neither.
    """
    files = sorted(
        {path for folder in folders for path in folder.rglob("*.jsonl*") if path.is_file()}
    )
    if not files:
        named = ", ".join(map(str, folders))
        raise TrainingError(f"no *.jsonl or *.jsonl.xz files below {named}; give their folder")
    rows: list[Row] = []
    draws: dict[str, np.random.Generator] = {}
    for file in files:
        draw = draws.setdefault(file.parent.name, np.random.default_rng(lesson.seed))
        records = list(_records(file))
        found = [row for record in records for row in _rows(record, file, draw)]
        is_dialogue = "turns" in records[0]
        if not found:
            continue
        source = found[0].source
        training = _drawn([row for row in found if row.split == "train"], lesson.word_rows, draw)
        n_network = lesson.network_rows_of.get(source, lesson.network_rows)
        n_reader = lesson.reader_rows_of.get(source.partition("/")[0], lesson.reader_rows)
        if is_dialogue:
            training, n_network = training[: lesson.dialogue_word_rows], lesson.dialogue_rows
            n_reader = lesson.dialogue_reader_rows
        weight = lesson.weights.get("dialogue" if is_dialogue else source, 1.0)
        rows += [
            replace(
                row, weight=weight, for_network=i < n_network,
                for_reader=i < n_reader or row.language == "ko",
            )
            for i, row in enumerate(training)
        ]  # fmt: skip
        n_valid = max(lesson.valid_rows, n_network // 8)
        rows += _drawn([row for row in found if row.split != "train"], n_valid, draw)
    return rows


def _drawn(rows: Sequence[Row], most: int, draw: np.random.Generator) -> list[Row]:
    return [rows[i] for i in draw.permutation(len(rows))[:most]]


def _records(file: Path) -> Iterable[dict[str, Any]]:
    read = lzma.open if file.suffix == ".xz" else open
    with read(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise TrainingError(f"{file}, line {number}: {error}") from error


def _rows(record: Mapping[str, Any], file: Path, draw: np.random.Generator) -> Iterable[Row]:
    if "turns" in record:
        turns = record["turns"]
        is_train = ".valid." not in file.name
        places = range(1, len(turns))
        if is_train and len(turns) > 1:
            places = range(start := int(draw.integers(1, len(turns))), start + 1)
        for i in places:
            split = "train" if is_train else "valid"
            name = file.name.partition(".")[0]
            yield Row(turns[i], turns[i - 1], False, "none", f"dialogue/{name}", split)
        return
    try:
        is_unethical = {"ethical": False, "unethical": True}[record["label"]]
        context = record.get("context") or [""]
        yield Row(
            record["text"], context[-1], is_unethical,
            record.get("category", "none") if is_unethical else "none",
            record["source"], record["split"],
        )  # fmt: skip
    except KeyError as error:
        raise TrainingError(
            f"{file}: a line without {error}; it needs turns, or text, label, source and split"
        ) from error


def example_rows(exemplars: Sequence[Exemplar], weight: float) -> list[Row]:
    """Our own examples as training rows."""
    return [
        Row(
            one.text, one.context, one.side == "unethical",
            one.category if one.side == "unethical" else "none", "exemplars", "train", weight,
            for_reader=True,
        )
        for one in exemplars
    ]  # fmt: skip


def agreement_rows(rows: Sequence[Row], lesson: Lesson) -> list[Row]:
    """Answers that agree or object to what was said in `rows`: a statement or a turn of a dialogue.

    Of five phrases, one is kept for validation, and the statements are those of either split.
    """
    draw = np.random.default_rng(lesson.seed)
    phrases = json.loads(PHRASES.read_text(encoding="utf-8"))
    made: list[Row] = []
    for language, sides in phrases.items():
        for split, share in (("train", 1.0), ("valid", 0.2)):
            mine = [
                row for row in rows
                if row.split == split and row.language == language and row.for_network
            ]  # fmt: skip
            alone = [row for row in mine if not row.user and len(row.text) < 160]
            bad = [(row.text, row.category) for row in alone if row.is_unethical]
            fine = [(row.text, "none") for row in alone if not row.is_unethical]
            chat = [(row.user, "none") for row in mine if row.source.startswith("dialogue/")]
            for said, kind in (
                (bad, "agrees"),
                (bad, "objects"),
                (fine, "agrees"),
                (chat, "agrees"),
            ):
                kept = [p for i, p in enumerate(sides[kind]) if (i % 5 == 4) == (split == "valid")]
                drawn = draw.permutation(len(said))[: int(lesson.agreements * share)]
                for number, i in enumerate(drawn):
                    wrong = said is bad and kind == "agrees"
                    turn, category = said[i]
                    phrase = kept[int(draw.integers(len(kept)))]
                    made.append(
                        Row(
                            phrase, turn, wrong, _condoned(category) if wrong else "none",
                            AGREEMENT + language, split,
                            for_reader=language == "en" and number % 6 == 0,
                        )
                    )  # fmt: skip
    return made


def _condoned(category: str) -> str:
    """Of agreement with a statement of a category; who agrees with an insult, insults nobody."""
    return "biased-opinion" if category in ("none", "insult") else category
