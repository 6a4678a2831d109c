"""Laws of the heads that a bot takes: those of its generator, read by its encoder."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from attribute_models.data import Family
from attribute_models.heads import Heads
from attribute_models.readers import Reader
from chatbot.attributes import app
from chatbot.backbone import Backbone
from chatbot.binding import Steerer, own_heads
from chatbot.errors import ModelError

LABELS = ("neutral", "calm")
ONE, OTHER = "1" * 64, "2" * 64


class FakeEmbedder:
    """An encoder of which only the digest is asked."""

    def __init__(self, digest):
        self.identity = {"name": "fake", "digest": digest}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.fixture
def steerer(home, tiny_bot, monkeypatch):
    def of(encoder):
        def load(_):
            assert encoder, "the encoder was loaded, though there was nothing to choose"
            return FakeEmbedder(encoder)

        monkeypatch.setattr("chatbot.binding.Embedder.load", load)
        return Steerer(tiny_bot.backbone)

    return of


def save(folder, backbone, encoder, *, family="mood", seed=0):
    width, generator = backbone.output_embedding().shape[1], torch.Generator().manual_seed(seed)
    shapes = {
        "down": (2, 3, width), "up": (2, width, 3), "bias": (2, width),
        "pieces": (2, backbone.vocab_size), "ahead": (2, width), "ahead_bias": (2,),
    }  # fmt: skip
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    heads = Heads(
        tensors, family=family, labels=LABELS, reference="neutral", language="en",
        backbone=backbone.identity["digest"],
    )  # fmt: skip
    heads.save(folder / family)
    weight, bias = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
    Reader(weight, bias, family=family, labels=LABELS, encoder=encoder).save(folder / family)
    return Heads.load(folder / family, backbone=heads.backbone).digest  # rounded by saving


def test_each_bot_takes_the_heads_that_its_encoder_reads(steerer, tiny_bot):
    digest = tiny_bot.backbone.identity["digest"]
    saved = {
        encoder: save(own_heads(digest, encoder), tiny_bot.backbone, encoder, seed=seed)
        for seed, encoder in enumerate((ONE, OTHER))
    }
    for encoder, heads in saved.items():
        bound = steerer(encoder)
        assert [one.digest for one in bound.heads] == [heads]
        assert bound.reader("mood").encoder == encoder


def test_shipped_heads_are_taken_where_those_trained_here_are_for_another_encoder(
    steerer, tiny_bot, tmp_path, monkeypatch
):
    shipped = tmp_path / "shipped"
    monkeypatch.setattr("chatbot.binding.SHIPPED", shipped)
    backbone = tiny_bot.backbone
    theirs = save(shipped, backbone, ONE, seed=1)
    ours = save(own_heads(backbone.identity["digest"]), backbone, OTHER, seed=2)
    assert [one.digest for one in steerer(ONE).heads] == [theirs]
    assert [one.digest for one in steerer(OTHER).heads] == [ours]
    both = save(own_heads(backbone.identity["digest"]), backbone, ONE, seed=3)
    assert [one.digest for one in steerer(ONE).heads] == [both]  # one's own come first


def test_heads_that_no_reader_fits_still_push_and_say_who_reads_them(steerer, tiny_bot):
    digest = tiny_bot.backbone.identity["digest"]
    saved = save(own_heads(digest, ONE), tiny_bot.backbone, ONE)
    bound = steerer(None)
    assert [one.digest for one in bound.heads] == [saved]
    bound._embedder = FakeEmbedder(OTHER)
    with pytest.raises(ModelError, match="trained on the text encoder 111111111111"):
        bound.reader("mood")


@pytest.mark.slow
def test_one_command_trains_all_families_and_keeps_them_by_the_models_digest(
    home, tiny_model_dir, tiny_bot, tmp_path, monkeypatch
):
    texts = [("calm", "take it slow {}"), ("neutral", "number {} on the list")]
    lines = [
        {"text": text.format(number), "label": label, "context": ["how was it"]}
        for number in range(24)
        for label, text in texts
    ]
    (tmp_path / "moods.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    named = {
        name: Family(name, "en", ("calm", "neutral"), "neutral", {"moods*.jsonl": {}})
        for name in ("mood", "temper")
    }
    monkeypatch.setattr("chatbot.training.heads.families", lambda: named)
    words = ["train", "--all", "--data", tmp_path, "--model", tiny_model_dir, "--steps", 2]
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0
    bound = Steerer(tiny_bot.backbone)
    assert [one.family for one in bound.heads] == ["mood", "temper"]
    assert bound.learned("calm", "en") == (0, 1)
    tiny = tiny_bot.backbone
    other = Backbone(tiny.model, tiny.tokenizer, name="other", digest="f" * 64)
    assert Steerer(other).heads == ()
