"""Laws of the reader of topics, on a tiny one of random weights."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from chatbot.errors import ModelError
from chatbot.followup import FEATURES, FollowUp
from chatbot.topic_reader import MAX_PIECES, TopicReader
from chatbot.topics import READER, Probe, TopicDetector, with_words_read
from chatbot.training import topic_reader as training
from chatbot.training.topic_reader import TopicLesson, TopicTexts

N_OUT = 6
TOPICS = ("none", "politics", "crime")


class Letters:
    """Stands for a tokenizer: a piece is a letter."""

    cls_token_id, sep_token_id = 1, 2

    def __call__(self, texts, **_):
        return {"input_ids": [[3 + ord(letter) % 60 for letter in text] for text in texts]}


def tiny(n_out=N_OUT):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=6, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128,
    )  # fmt: skip
    return TopicReader(BertModel(config, add_pooling_layer=False), Letters(), n_out).eval()


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(TopicReader, "untrained", classmethod(lambda _, n_out: tiny(n_out)))


class Flat:
    """An encoder to which all texts are alike."""

    identity = {"name": "flat", "digest": "d"}  # noqa: RUF012

    def encode(self, texts):
        return np.ones((len(texts), 2), np.float32)


def probe():
    zeros = np.zeros((N_OUT, 2), np.float32)
    return Probe(
        TOPICS, np.eye(2, dtype=np.float32), np.zeros(2, np.float32), zeros,
        np.zeros(N_OUT, np.float32), np.zeros((16, N_OUT), np.float32), np.ones(16, np.float32),
        1.0, "d", dict.fromkeys(FEATURES, 0.0),
    )  # fmt: skip


# -- reading


def test_a_message_reads_the_same_alone_and_among_others_to_the_bit():
    texts = ["tea?", "a much longer message than the others are", "I will vote"]
    together = tiny().logits(texts)
    assert together.shape == (3, N_OUT)
    for text, logits in zip(texts, together, strict=True):
        np.testing.assert_array_equal(tiny().logits([text])[0], logits)
    np.testing.assert_array_equal(tiny().logits(texts[::-1]), together[::-1])


def test_messages_differ_and_the_last_pieces_of_a_long_one_are_read():
    reader = tiny()
    assert not np.allclose(*reader.logits(["tea?", "soup?"]))
    tail = "x" * MAX_PIECES
    np.testing.assert_array_equal(*reader.logits(["abc" + tail, tail]))
    assert reader.logits([""]).shape == (1, N_OUT)


def test_a_message_read_lately_is_not_read_again(monkeypatch):
    reader, read = tiny(), []
    real = reader._read
    monkeypatch.setattr(reader, "_read", lambda texts: read.extend(texts) or real(texts))
    first = reader.logits(["tea?", "soup?"])
    again = reader.logits(["soup?", "bread?"])
    assert read == ["tea?", "soup?", "bread?"]
    np.testing.assert_array_equal(again[0], first[1])


def test_the_reader_has_half_the_say_on_english_and_none_on_korean():
    texts = ["vote", "국이 뜨거워", "soup"]
    given = np.arange(18, dtype=np.float32).reshape(3, N_OUT)
    mixed = with_words_read(given, texts, lambda some: np.zeros((len(some), N_OUT), np.float32))
    np.testing.assert_array_equal(mixed, given * np.array([[0.5], [1], [0.5]], np.float32))
    korean = with_words_read(given[1:2], texts[1:2], lambda _: pytest.fail("read Korean"))
    np.testing.assert_array_equal(korean, given[1:2])


def test_a_detector_asks_its_reader_and_works_without_one():
    follow_up = FollowUp.load(probe().follow_up)
    without = TopicDetector(probe(), Flat(), follow_up)
    beside = TopicDetector(probe(), Flat(), follow_up, tiny())
    plain = without.read(["I will vote"]).probabilities
    assert plain == pytest.approx(dict.fromkeys(TOPICS, 1 / 3))
    assert beside.read(["I will vote"]).probabilities != pytest.approx(plain)
    assert beside.read(["국이 뜨거워"]).probabilities == pytest.approx(plain)


# -- files


def test_it_is_saved_and_found_beside_the_probe(tmp_path, untrained):
    probe().save(tmp_path, {})
    assert TopicDetector.load(tmp_path, Flat()).reader is None
    reader = tiny()
    with torch.no_grad():
        reader.out.bias += 1.0
    reader.save(tmp_path)
    loaded = TopicDetector.load(tmp_path, Flat()).reader
    np.testing.assert_allclose(loaded.logits(["tea?"]), reader.logits(["tea?"]), atol=0.01)


def test_weights_of_another_reader_are_refused(tmp_path, untrained):
    tiny().save(tmp_path)
    with pytest.raises(ModelError, match=r"another version.*chatbot policy train"):
        TopicReader.load(tmp_path, N_OUT + 1)
    (tmp_path / READER).write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        TopicReader.load(tmp_path, N_OUT)


# -- training


def goal_of(texts):
    goal = torch.tensor([int("vote" in text) for text in texts])
    return lambda logits, places: torch.nn.functional.cross_entropy(logits, goal[places])


TEXTS = [f"{word} {letter}" for word in ("vote", "soup") for letter in "abcdefgh"]


def test_it_learns_and_repeats_and_the_frozen_layers_stay(untrained):
    lesson = TopicLesson(epochs=20, batch=8, rate=4e-3, head_rate=8e-3, warm_up_steps=2)
    texts = TopicTexts(TEXTS, N_OUT)
    rows = np.arange(len(TEXTS))
    reader, again = (texts.taught(rows, goal_of(TEXTS), lesson) for _ in range(2))
    assert [*texts.read(reader, TEXTS).argmax(1)] == [1] * 8 + [0] * 8
    before = tiny().state_dict()
    trained = dict(reader.trained())
    for name, value in reader.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, before[name]) == (name not in trained)


def test_what_it_is_taught_with_is_what_it_reads(untrained):
    texts = TopicTexts(TEXTS, N_OUT)
    reader = training.TopicReader.untrained(N_OUT)
    np.testing.assert_allclose(texts.read(reader, TEXTS), reader.logits(TEXTS), atol=0.02)
    some = TEXTS[3:1:-1]
    np.testing.assert_allclose(texts.read(reader, some), reader.logits(some), atol=0.02)


@pytest.mark.parametrize("name", ["minilm+korean", "another"])
def test_a_detector_trained_whole_has_a_reader_for_minilm_alone(
    name, tmp_path, untrained, monkeypatch
):
    from chatbot.training import topics

    embedder = Flat()
    monkeypatch.setattr(embedder, "identity", {"name": name, "digest": "d"}, raising=False)
    told = [
        ("I vote", "politics"),
        ("they steal it", "crime"),
        ("hot soup", "none"),
        ("국", "none"),
    ]
    own = [topics.Example(f"{text} {n}", topic, source="en") for text, topic in told for n in "abc"]
    monkeypatch.setattr(topics, "own_examples", lambda: own)
    file = tmp_path / "given.jsonl"
    lines = [
        json.dumps({"text": f"{text} {source}", "topic": topic, "source": source})
        for text, topic in told
        for source in ("one", "two", "kept/back")
    ]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    trained, card = topics.train_detector(
        [file], ["kept"], embedder,
        settings=topics.ProbeSettings(buckets=64, hidden=4, epochs=2),
        lesson=TopicLesson(epochs=1, batch=8),
    )  # fmt: skip
    assert card["held_back"]["n"] == 4
    assert card["examples"] == 24
    is_read = name != "another"
    assert (trained.reader is not None) == (card["reader"] is not None) == is_read
    folder = tmp_path / "out"
    folder.mkdir()
    trained.save(folder, card)
    loaded = TopicDetector.load(folder, embedder)
    assert (loaded.reader is not None) == is_read
    assert loaded.probe.temperature == trained.temperature
    assert sum(loaded.read(["I vote"]).probabilities.values()) == pytest.approx(1, abs=1e-5)
