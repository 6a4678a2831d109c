"""Laws of teaching the ethics filter, with a stand-in for the encoder."""

from dataclasses import replace

import numpy as np
import pytest

from chatbot.errors import TrainingError
from chatbot.exemplars import Exemplar
from chatbot.training.ethics import left_out, taught_reader, train
from chatbot.training.ethics_rows import Lesson, Row

SMALL = Lesson(
    buckets=1 << 10, epochs=2, agreements=10, hidden=8, centroids=2, word_penalty=1.0, reader=None
)
EXAMPLES = [Exemplar("unethical", "hate", "zork zork"), Exemplar("ethical", "hate", "milk milk")]


class Letters:
    """Stands for an encoder: a text is its letters, counted."""

    identity = {"name": "letters", "digest": "0"}  # noqa: RUF012  # as the real one has it

    def encode(self, texts):
        counts = [[text.count(c) + 0.01 for c in "zorktea우유조르크"] for text in texts]
        vectors = np.array(counts, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_of(source):
    """Both languages; those with one word are bad."""
    made = []
    for number in range(48):
        split = "valid" if number % 3 == 0 else "train"
        for bad, plain in (("zork", "tea"), ("조르크", "우유")):
            made.append(Row(f"{bad} {plain} {number}", "", True, "violence", source, split))
            made.append(Row(f"{plain} {plain} {number}", "", False, "none", source, split))
    return made


def talk():
    return [
        Row(f"{word} and {word} {number}", f"{word}?", False, "none", "dialogue/made",
            "valid" if number % 3 == 0 else "train")
        for number in range(48)
        for word in ("tea", "우유")
    ]  # fmt: skip


def test_a_source_that_is_left_out_is_judged_by_what_the_others_taught():
    rows = [*rows_of("one"), *rows_of("two/a"), *rows_of("two/b"), *talk()]
    scores = left_out(rows, "two", EXAMPLES, Letters(), SMALL)
    assert {one.source for one in scores} == {"two/a", "two/b"}
    assert all(one.n == 32 and one.macro_f1_half > 0.9 for one in scores)
    flipped = [
        replace(row, is_unethical=not row.is_unethical)
        if row.source.startswith("two") and row.split == "train"
        else row
        for row in rows
    ]
    assert left_out(flipped, "two", EXAMPLES, Letters(), SMALL) == scores


def test_an_unknown_source_is_refused_and_the_known_are_named():
    with pytest.raises(TrainingError, match=r"'three'; there are dialogue/made, one"):
        left_out([*rows_of("one"), *talk()], "three", EXAMPLES, Letters(), SMALL)


def test_rows_that_lack_a_side_are_refused_with_what_is_missing():
    rows = [row for row in rows_of("one") if not (row.is_unethical and row.language == "ko")]
    with pytest.raises(TrainingError, match="language ko is unethical"):
        train(rows, EXAMPLES, Letters(), SMALL)


def test_without_a_lesson_there_is_no_reader():
    rows = [replace(row, for_reader=True) for row in rows_of("one")]
    assert taught_reader(rows, SMALL) is None
