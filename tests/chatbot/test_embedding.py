"""Laws of texts as vectors: unit length, remembered, each language to its encoder."""

import json

import numpy as np
import pytest
import torch

from chatbot.embedding import MAX_REMEMBERED, Embedder
from chatbot.errors import ModelError
from chatbot.korean_encoder import KoreanEncoder, KoreanEncoderConfig
from chatbot.ngrams import hangul_share, split_words, text_parts

KOREAN = ["안녕하세요, 반가워요.", "오늘은 날씨가 참 좋네요", "ㅋㅋㅋㅋ 진짜?", "응", "1234"]
TINY = KoreanEncoderConfig(buckets=512, width=16, heads=2, dimensions=8)


class Fake:
    """Stands for the English encoder: counts what it reads."""

    dimensions = 8
    max_pieces = None

    def __init__(self):
        self.read = []

    def vectors(self, texts):
        self.read += texts
        return torch.tensor([[len(text) + 1.0, *([1.0] * 7)] for text in texts])


@pytest.fixture
def student():
    torch.manual_seed(0)
    return KoreanEncoder(TINY).eval()


@pytest.fixture
def embedder(student):
    return Embedder(Fake(), name="fake", digest="0", korean=student)


@pytest.mark.parametrize(
    ("text", "is_korean"),
    [
        ("Hello there", False),
        ("안녕하세요", True),
        ("나는 BTS 콘서트에 갔어", True),
        ("I ate 김치 yesterday with my best friends from school", False),
        ("123 !?", False),
        ("ㅠㅠ", True),
    ],
)
def test_each_text_goes_to_the_encoder_of_its_language(embedder, text, is_korean):
    embedder.encode([text])
    assert embedder._model.read == ([] if is_korean else [text])


def test_vectors_are_unit_and_stand_in_the_order_of_the_texts(embedder):
    texts = ["Hello", KOREAN[0], "How are you?", KOREAN[1], "Hello"]
    vectors = embedder.encode(texts)
    assert vectors.shape == (5, 8)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(embedder.encode([text])[0], vector, atol=1e-5)


def test_a_text_seen_lately_is_not_computed_again(embedder):
    embedder.encode(["a", "b", "a"])
    embedder.encode(["b", "a"])
    assert embedder._model.read == ["a", "b"]
    embedder.encode([str(number) for number in range(MAX_REMEMBERED)])
    embedder.encode(["a"])
    assert embedder._model.read[-1] == "a"


def test_no_texts_give_no_vectors(embedder):
    assert embedder.encode([]).shape == (0, 8)


def test_a_batch_of_korean_gives_what_each_text_gives_alone(student):
    together = student.encode(KOREAN, batch_size=2)
    alone = np.concatenate([student.encode([text]) for text in KOREAN])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_is_saved_is_what_is_loaded_but_for_rounding(student, tmp_path):
    student.save(tmp_path)
    loaded = KoreanEncoder.load(tmp_path)
    likeness = (student.encode(KOREAN) * loaded.encode(KOREAN)).sum(1)
    assert likeness.min() > 0.99
    np.testing.assert_array_equal(
        KoreanEncoder.load(tmp_path).encode(KOREAN), loaded.encode(KOREAN)
    )


@pytest.mark.parametrize("broken", ["missing", "cut", "config", "other_sizes"])
def test_a_broken_korean_encoder_is_refused_with_the_command_that_makes_one(
    student, tmp_path, broken
):
    student.save(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if broken == "missing":
        weights.unlink()
    elif broken == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif broken == "config":
        config.write_text('{"unknown": 1}')
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"width": 32}))
    with pytest.raises(ModelError, match="korean-encoder"):
        KoreanEncoder.load(tmp_path)


def test_an_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no folder"):
        Embedder.load(tmp_path / "nothing")


@pytest.fixture(scope="module")
def shipped():
    return Embedder.load()


def test_the_shipped_encoders_agree_on_sentences_and_their_translations(shipped):
    pairs = {
        "I love you so much.": "정말 많이 사랑해요.",
        "I am very angry right now.": "나 지금 정말 화가 나.",
        "What time do you have dinner?": "저녁은 몇 시에 먹어요?",
        "My dog died yesterday and I am sad.": "어제 우리 강아지가 죽어서 슬퍼요.",
        "Congratulations on winning the game!": "경기에서 이긴 것을 축하해요!",
        "This movie is really boring.": "이 영화는 정말 지루하다.",
    }
    likeness = shipped.encode(list(pairs)) @ shipped.encode(list(pairs.values())).T
    assert (likeness.argmax(0) == np.arange(len(pairs))).mean() >= 0.8


def test_the_identity_names_both_encoders(shipped):
    english = Embedder.load_english()
    assert shipped.identity["digest"] != english.identity["digest"]
    assert len(shipped.identity["digest"]) == 64


# -- parts of words


def test_parts_tell_roles_apart_and_do_not_depend_on_case():
    assert set(text_parts("Hello there", 1 << 20)) == set(text_parts("HELLO THERE", 1 << 20))
    assert not set(text_parts("hello", 1 << 30)) & set(text_parts("hello", 1 << 30, block=1))


def test_long_runs_of_a_sign_count_as_two():
    assert split_words("soooo ㅋㅋㅋㅋㅋ!!!!") == split_words("soo ㅋㅋ!!")
    assert [len(word) for word in split_words("soooo ㅋㅋㅋㅋㅋ!!!!")] == [3, 2, 2]


def test_no_letters_no_hangul():
    assert hangul_share("123 ?!") == 0
    assert hangul_share("가a") == 0.5
