"""Laws of teaching the ethics filter, with a stand-in for the encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from chatbot.errors import TrainingError
from chatbot.exemplars import Exemplar
from chatbot.korean_encoder import KoreanEncoder, KoreanEncoderConfig
from chatbot.training.ethics import (
    best_threshold,
    left_out,
    taught_korean_reader,
    taught_reader,
    train,
)
from chatbot.training.ethics_rows import Lesson, Row
from chatbot.training.korean_reader import KoreanReaderLesson

SMALL = Lesson(
    buckets=1 << 10, epochs=2, agreements=10, hidden=8, centroids=2, word_penalty=1.0,
    reader=None, korean_reader=None,
)  # fmt: skip
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
    assert taught_korean_reader(rows, SMALL) is None


@pytest.fixture
def tiny_encoder(monkeypatch):
    """In place of the shipped one, of random weights."""
    config = KoreanEncoderConfig(buckets=512, width=16, heads=2, dimensions=12)

    def load():
        torch.manual_seed(0)
        return KoreanEncoder(config)

    monkeypatch.setattr(KoreanEncoder, "load", load)


def test_korean_replies_are_read_where_a_reader_was_taught(tiny_encoder):
    rows = [replace(row, for_reader=True) for row in [*rows_of("one"), *talk()]]
    lesson = replace(
        SMALL, korean_reader=KoreanReaderLesson(epochs=20, batch=16, rate=3e-3, part_rate=1e-2)
    )
    taught = train(rows, EXAMPLES, Letters(), lesson)
    assert taught.readers.english is None
    assert list(taught.probe.config.readers) == ["ko"]
    bad, fine = taught.readers.rate([("조르크 우유", ""), ("우유 우유", "")])
    assert bad > fine
    english, without_turn = taught.readers.rate([("zork tea", "tea?"), ("zork tea", "")])
    assert np.isnan(english)
    assert np.isnan(without_turn)


def made_source(name, fine, bad, size):
    """Risks, labels and names: half of the rows have the risk `fine`, half the risk `bad`."""
    risks = np.repeat([fine, bad], size // 2)
    return risks, np.repeat([False, True], size // 2), np.full(size, name)


def threshold_of(*sources, least=0.5):
    risks, truth, names = (np.concatenate(one) for one in zip(*sources, strict=True))
    return best_threshold(risks, truth, names, least, 0.8)


def test_the_threshold_is_that_at_which_most_large_sources_reach_the_aim():
    # "loud" needs a threshold above 0.7, "a" and "b" one of 0.6 and less.
    loud, a, b = (
        made_source("loud", 0.695, 0.9, 200),
        made_source("a", 0.1, 0.605, 100),
        made_source("b", 0.1, 0.605, 100),
    )
    assert threshold_of(loud, a, b) == pytest.approx(0.7)
    assert threshold_of(made_source("loud", 0.695, 0.9, 100), a, b) == pytest.approx(0.5)
    assert threshold_of(loud, a, b, least=0.8) == pytest.approx(0.8)


def test_small_or_one_sided_sources_say_nothing_of_the_threshold():
    fine = made_source("fine", 0.9, 0.9, 400)
    assert threshold_of((fine[0], np.zeros(400, bool), fine[2])) == 0.5
    assert threshold_of(made_source("small", 0.7, 0.9, 98)) == 0.5
