"""Makes labelled texts for the judge of topics, for which nobody labelled any.

Two signals that are not the word lists of steering: what a source says a document is about (the
topic field of a dialogue, the category of a quiz, the subject of a podcast), and how near a turn
lies to sentences of our own about each topic (`topics.json`). A training turn needs both where
both are there; each also comes with the list words of its topic taken out, so that the judge
learns the rest of the sentence too. The sentences of our own are training texts as well, with
more of them (`practice`) about what turns seldom speak of: playing, matches, science.

Valid texts, by source: `given`, turns joined by threes with the document's label as it is;
`near`, single turns labelled by nearness alone; `written`, sentences of our own.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribute_models.lexicon import inflections, load_shipped, shipped_lists
from chatbot.errors import InputError
from eval.jsonl import Json, Line, read_lines
from eval.judges import Array, Encoder

SENTENCES = Path(__file__).with_name("topics.json")

_SPORTS = ("nfl_football", "baseball", "basketball", "icehockey", "sports quiz")
_MUSIC = ("music", "pop", "rock", "rap_hiphop", "beatles", "lady_gaga", "music quiz")
_OTHER = (
    "movies", "disney", "star_wars", "thriller", "superhero", "comedy", "horror", "action",
    "harry_potter", "fast_furious", "fashion", "Relationship", "Attitude & Emotion", "School Life",
    "Finance", "Health", "television quiz", "movies quiz", "celebrities quiz", "people quiz",
    "literature quiz", "history quiz",
)  # fmt: skip
GIVEN = {
    **dict.fromkeys(_SPORTS, "sports"), **dict.fromkeys(_MUSIC, "music"),
    **dict.fromkeys(_OTHER, "other"),
    "video-games quiz": "game", "Tourism": "travel", "talkpython": "technology",
    "changelog": "technology",
}  # fmt: skip
"""What the documents of a topic field, quiz category or source are about."""

NEAR, FAR, MARGIN = 0.40, 0.25, 0.06
"""Cosines: a turn at least so near to a topic belongs to it; one farther from all is of none; the
next topic must lie so much farther."""

_AGREES = 0.30
"""Nearness that is enough for a turn of a document whose topic is given."""

_OWN_TIMES = 5
"""How often a training sentence of ours is given: the turns about games are mostly a quiz's
questions, and outnumber how people talk. Recall of `written` rose from 0.50 to 0.63 (game) and
from 0.79 to 0.96 (sports) against once."""

_VALID_SHARE = 10
_WORDS = range(4, 41)


@dataclass(frozen=True, slots=True)
class _Turn:
    text: str
    given: str | None
    is_train: bool


def topic_texts(
    paths: Iterable[Path],
    encoder: Encoder,
    *,
    most: int,
    watch: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Json]:
    """Lines for `eval.judge_training` out of files of dialogues or documents.

    Args:
        paths: lines with `turns`, or with `text` of one turn a line; `topic`, `title`, `source`.
        most: turns looked at per given topic, and per file without one.
        watch: passes on the batches that are to be encoded.

    Raises:
        InputError: a line of another form.
    """
    sentences = json.loads(SENTENCES.read_text(encoding="utf-8"))
    labels = sorted(sentences["prototypes"])
    prototypes = {label: encoder.encode(sentences["prototypes"][label]) for label in labels}
    turns, windows = _turns(paths, most)
    lines = list(windows)
    masks = {label: _mask(label) for label in labels if label != "other"}
    for part in watch([turns[at : at + 512] for at in range(0, len(turns), 512)]):
        nearness = near([turn.text for turn in part], encoder, prototypes, labels)
        for turn, row in zip(part, nearness, strict=True):
            label = label_of(dict(zip(labels, map(float, row), strict=True)), turn.given)
            if label is not None:
                lines += _lines(turn, label, masks)
    for name, split, source, times in (
        ("prototypes", "train", "own", _OWN_TIMES),
        ("practice", "train", "own", _OWN_TIMES),
        ("written", "valid", "written", 1),
    ):
        lines += [
            {"text": text, "label": label, "split": split, "source": source}
            for label in labels
            for text in sentences.get(name, {}).get(label, ())
        ] * times
    return lines


def near(
    texts: Sequence[str], encoder: Encoder, prototypes: Mapping[str, Array], labels: Sequence[str]
) -> NDArray[np.float32]:
    """(n, K) mean cosine of each text to the two nearest sentences of each topic."""
    vectors = encoder.encode(texts)
    columns = [np.sort(vectors @ prototypes[label].T, 1)[:, -2:].mean(1) for label in labels]
    return np.stack(columns, 1)


def label_of(nearness: Mapping[str, float], given: str | None) -> str | None:
    """The topic of a turn, or None where the signals are weak or do not agree."""
    topics = {label: value for label, value in nearness.items() if label != "other"}
    (best, value), (_, second) = Counter(topics).most_common(2)
    if value < FAR:
        return "other" if given in (None, "other") else None
    if given is not None and given != "other":
        return given if best == given and value >= _AGREES else None
    if value < NEAR or value - second < MARGIN or value < nearness["other"]:
        return None
    # A dialogue about a film may well come to food, but then it must say so clearly.
    return best if given is None or value >= NEAR + MARGIN else None


def _lines(turn: _Turn, label: str, masks: Mapping[str, re.Pattern[str]]) -> Iterator[Json]:
    split = "train" if turn.is_train else "valid"
    source = "topics" if turn.is_train else "near"
    if not turn.is_train and turn.given is not None:
        return  # in the windows
    yield {"text": turn.text, "label": label, "split": split, "source": source}
    if turn.is_train and label in masks:
        rest = " ".join(masks[label].sub(" ", turn.text).split())
        if rest != turn.text and len(rest.split()) >= _WORDS.start + 1:
            yield {"text": rest, "label": label, "split": split, "source": f"{source}-masked"}


def _mask(topic: str) -> re.Pattern[str]:
    """Matches the words of a steering list, inflections included."""
    files = {file.parent.name: file for file in shipped_lists()[topic]}
    words = load_shipped(files["en"]).weights
    forms = sorted({form for word in words for form in (word, *inflections(word))}, key=len)
    either = "|".join(re.escape(form) for form in reversed(forms))
    return re.compile(rf"\b(?:{either})\b", re.IGNORECASE)


def _turns(paths: Iterable[Path], most: int) -> tuple[list[_Turn], list[Json]]:
    """Single turns, and windows of three valid turns with a given topic."""
    taken: Counter[str] = Counter()
    turns: list[_Turn] = []
    windows: list[Json] = []
    for path in paths:
        lines = read_lines(path, _check)
        # By hash, so that the documents come from the whole file and not from its beginning.
        for line in sorted(lines, key=lambda line: zlib.crc32(repr(line.record).encode())):
            record = line.record
            given = _given(record)
            is_train = zlib.crc32(repr(record).encode()) % _VALID_SHARE > 0
            place = f"{given or _about(record) or path.name}.{is_train}"
            held = record.get("turns") or record["text"].split("\n")
            said = [text for text in held if len(text.split()) in _WORDS]
            if taken[place] >= (most if is_train else most // _VALID_SHARE):
                continue
            taken[place] += len(said)
            turns += [_Turn(text, given, is_train) for text in said]
            if given and not is_train:
                windows += [
                    {"text": " ".join(said[at : at + 3]), "label": given, "split": "valid",
                     "source": "given"}
                    for at in range(0, len(said) - 2, 3)
                ]  # fmt: skip
    return turns, windows


def _given(record: Json) -> str | None:
    """The topic that the source tells."""
    told = (record.get("topic"), record.get("title"), record.get("source"))
    return next((GIVEN[one] for one in told if isinstance(one, str) and one in GIVEN), None)


def _about(record: Json) -> str:
    """What the source says a document is about, whether or not that is one of our topics."""
    title = str(record.get("title", ""))
    return str(record.get("topic") or (title if title.endswith(" quiz") else ""))


def _check(line: Line) -> None:
    turns, text = line.record.get("turns"), line.record.get("text")
    is_turns = isinstance(turns, list) and all(isinstance(turn, str) for turn in turns)
    if not is_turns and not isinstance(text, str):
        raise InputError(f"{line.path}, line {line.number}: expected `turns` or `text`")
