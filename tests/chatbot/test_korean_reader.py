"""Laws of the reader of Korean replies, on a tiny one of random weights."""

import json

import numpy as np
import pytest
import torch

from chatbot.errors import ModelError
from chatbot.korean_encoder import KoreanEncoder, KoreanEncoderConfig
from chatbot.korean_reader import KoreanReader
from chatbot.training.korean_reader import (
    KoreanReaderLesson,
    KoreanReading,
    train_korean_reader,
)

REPLIES = [
    "안녕하세요",
    "오늘은 날씨가 참 좋네요.",
    "저는 김치찌개를 좋아해요!",
    "ㅋㅋㅋ",
    "",
    "tea",
]


def encoder():
    torch.manual_seed(0)
    return KoreanEncoder(KoreanEncoderConfig(buckets=512, width=16, heads=2, dimensions=12))


def tiny():
    return KoreanReader(encoder(), ["news", "talk"]).eval().requires_grad_(False)


def test_a_reply_is_rated_the_same_whatever_others_are_beside_it():
    reader = tiny()
    together = reader.rate(REPLIES)
    assert together.dtype == np.float32
    np.testing.assert_allclose([reader.rate([one])[0] for one in REPLIES], together, atol=1e-5)
    np.testing.assert_array_equal(reader.rate(REPLIES[::-1]), together[::-1])
    assert reader.rate([]).shape == (0,)


def test_more_replies_than_a_batch_are_all_rated():
    reader = tiny()
    many = [f"{one} {number}" for number in range(30) for one in REPLIES[:4]]
    np.testing.assert_allclose(
        reader.rate(many), [reader.rate([one])[0] for one in many], atol=1e-5
    )


def test_what_is_saved_is_loaded_but_for_rounding(tmp_path):
    reader = tiny()
    reader.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "korean_reader.safetensors",
        "korean_reader.json",
    }
    loaded = KoreanReader.load(tmp_path)
    assert loaded.raters == reader.raters
    np.testing.assert_allclose(loaded.rate(REPLIES), reader.rate(REPLIES), atol=0.02)


@pytest.mark.parametrize("damage", ["no weights", "no sizes", "cut", "other sizes", "strange"])
def test_a_broken_reader_is_refused_with_the_command_that_trains(tmp_path, damage):
    tiny().save(tmp_path)
    weights, sizes = tmp_path / "korean_reader.safetensors", tmp_path / "korean_reader.json"
    if damage == "no weights":
        weights.unlink()
    elif damage == "no sizes":
        sizes.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:300])
    else:
        told = json.loads(sizes.read_text(encoding="utf-8"))
        told["encoder"]["width" if damage == "other sizes" else "depth"] = 32
        sizes.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match="chatbot ethics train"):
        KoreanReader.load(tmp_path)


def readings():
    """News is judged more strictly than talk: there the tea is bad as well."""
    made = []
    for number in range(60):
        made.append(KoreanReading(f"조르크 신문 {number}", True, "news"))
        made.append(KoreanReading(f"우유 신문 {number}", False, "news"))
        made.append(KoreanReading(f"홍차 신문 {number}", True, "news"))
        made.append(KoreanReading(f"조르크 친구 {number}", True, "talk"))
        made.append(KoreanReading(f"우유 친구 {number}", False, "talk"))
        made.append(KoreanReading(f"홍차 친구 {number}", False, "talk"))
    return made


LESSON = KoreanReaderLesson(epochs=12, batch=24, rate=1e-2, part_rate=5e-2, smoothing=0.0)


def test_a_reply_is_judged_by_the_raters_of_texts_like_it():
    steps = []
    reader = train_korean_reader(
        encoder(), readings(), LESSON, on_step=lambda step, of, loss: steps.append((step, of, loss))
    )
    assert steps[-1][0] == steps[-1][1] == len(steps) == 12 * 15
    assert steps[-1][2] < steps[0][2] / 2
    bad, fine, strict, lenient = reader.rate(
        ["조르크 친구 70", "우유 신문 70", "홍차 신문 70", "홍차 친구 70"]
    )
    assert min(bad, strict) > 0 > max(fine, lenient)


def test_what_is_taught_is_what_is_loaded_again(tmp_path):
    reader = train_korean_reader(encoder(), readings()[:48], LESSON)
    reader.save(tmp_path)
    np.testing.assert_array_equal(KoreanReader.load(tmp_path).rate(REPLIES), reader.rate(REPLIES))


def test_the_same_seed_teaches_the_same_reader():
    one, other = (train_korean_reader(encoder(), readings()[:48], LESSON) for _ in range(2))
    np.testing.assert_array_equal(one.rate(REPLIES), other.rate(REPLIES))
