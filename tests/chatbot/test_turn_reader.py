"""Laws of the reader of turns, on a tiny one of random weights."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from chatbot.errors import ModelError
from chatbot.pair_reading import rows_of
from chatbot.training.turn_reader import ReaderLesson, Reading, train_reader
from chatbot.turn_reader import MAX_REPLY_PIECES, TurnReader


class Letters:
    """Stands for a tokenizer: a piece is a letter."""

    cls_token_id, sep_token_id = 1, 2

    def __call__(self, texts, **_):
        return {"input_ids": [[3 + ord(letter) % 60 for letter in text] for text in texts]}


def tiny():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=6, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128,
    )  # fmt: skip
    return TurnReader(BertModel(config, add_pooling_layer=False), Letters()).eval()


def rated(reader, turn, replies):
    with torch.inference_mode():
        return reader(rows_of([(reader.turn_ids(turn), reader.reply_ids(replies))])).numpy()


def test_a_reply_is_rated_the_same_whatever_others_are_beside_it():
    reader = tiny()
    replies = ["yes", "no, I would not say that", "why?"]
    together = rated(reader, "are they bad?", replies)
    for reply, rating in zip(replies, together, strict=True):
        assert rated(reader, "are they bad?", [reply])[0] == pytest.approx(rating, abs=1e-4)
    np.testing.assert_allclose(
        rated(reader, "are they bad?", replies[::-1]), together[::-1], atol=1e-4
    )


def test_the_turn_matters_and_none_is_a_turn_of_its_own():
    reader = tiny()
    ratings = {float(rated(reader, turn, ["yes"])[0]) for turn in ("", "are they bad?", "tea?")}
    assert len(ratings) == 3


def test_padding_changes_nothing():
    reader = tiny()
    groups = [
        (reader.turn_ids(turn), reader.reply_ids(replies))
        for turn, replies in (("tea?", ["yes"]), ("a much longer turn", ["no", "perhaps not"]))
    ]
    with torch.inference_mode():
        padded = reader(rows_of(groups)).numpy()
    second = rated(reader, "a much longer turn", ["no", "perhaps not"])
    alone = np.concatenate([rated(reader, "tea?", ["yes"]), second])
    np.testing.assert_allclose(padded, alone, atol=1e-4)


def test_more_replies_than_fit_in_a_row_and_none_at_all():
    reader = tiny()
    replies = [f"reply {i} " * 12 for i in range(9)]
    ratings = reader.rate("tea?", replies)
    assert ratings.shape == (9,)
    assert ratings[0] == pytest.approx(float(rated(reader, "tea?", replies[:1])[0]), abs=0.05)
    assert reader.rate("tea?", []).shape == (0,)
    assert len(reader.reply_ids(["x" * 500])[0]) == MAX_REPLY_PIECES + 2


def test_weights_kept_in_16_bits_rate_as_autocast_does_and_nearly_as_32_bits():
    reader = tiny()
    exact = rated(reader, "are they bad?", ["yes", "why?"])
    with torch.autocast("cpu", torch.bfloat16):
        cast = rated(reader, "are they bad?", ["yes", "why?"])
        reader.keep_in_bfloat16()
        kept = rated(reader, "are they bad?", ["yes", "why?"])
    np.testing.assert_array_equal(kept, cast)
    np.testing.assert_allclose(kept, exact, atol=0.02)
    assert not np.array_equal(kept, torch.tensor(kept).bfloat16().float())  # not the log-odds


def test_it_learns_what_depends_on_the_turn_and_the_frozen_layers_stay(tmp_path):
    reader = tiny()
    frozen = {
        name: value.clone()
        for name, value in reader.state_dict().items()
        if name not in dict(reader.trained())
    }
    readings = [
        Reading("are they bad?", "yes", True), Reading("are they bad?", "no", False),
        Reading("tea?", "yes", False), Reading("", "no", False),
    ] * 8  # fmt: skip
    losses = []
    lesson = ReaderLesson(epochs=12, batch=8, rate=2e-3, head_rate=4e-3, warm_up_steps=2)
    train_reader(reader, readings, lesson, on_epoch=lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    bad, fine = rated(reader, "are they bad?", ["yes"])[0], rated(reader, "tea?", ["yes"])[0]
    assert bad > fine
    for name, value in frozen.items():
        assert torch.equal(reader.state_dict()[name], value)
    reader.save(tmp_path)
    assert (tmp_path / "reader.safetensors").stat().st_size < 2.2 * sum(
        value.numel() for _, value in reader.trained()
    ) + 4_000


def test_weights_of_another_reader_are_refused(tmp_path):
    tiny().save(tmp_path)
    with pytest.raises(ModelError, match=r"another version.*chatbot ethics train"):
        TurnReader.load(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        TurnReader.load(tmp_path / "nowhere")
