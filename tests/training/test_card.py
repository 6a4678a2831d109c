"""Laws of the model card."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from chatbot.backbone import Backbone
from chatbot.errors import CorpusError, TrainingError
from chatbot.training import samples
from chatbot.training.batches import PackedCorpus
from chatbot.training.card import draw_curves, make_card, read_history, score_sources
from chatbot.training.packing import pack
from chatbot.training.tokenizer import load_tokenizer
from chatbot.training.trainer import validation_loss

DIALOGUES = [{"seed": 0, "turns": ["Hi!", "```<b>", "---", "# 안녕"]}]


@pytest.fixture
def sample_talk(tmp_path):
    samples.write_samples(DIALOGUES, tmp_path / "samples.jsonl")
    return tmp_path / "samples.jsonl"


@pytest.fixture
def card(made, sample_talk):
    path = make_card(
        made / "model",
        runs=[made / "run", made / "run"],
        valid=made / "packed" / "chat-valid",
        samples=sample_talk,
    )
    return path.read_text("utf-8")


def test_the_card_has_a_header_and_every_section(card):
    header = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1].splitlines()
    assert "license: cc-by-nc-sa-4.0" in header  # a source of unknown licence is not open
    assert "- en" in header
    assert "library_name: transformers" in header
    titles = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert titles == ["Intended use", "How it was made", "Perplexity", "Data", "Limits", "Samples"]


def test_the_numbers_are_those_of_the_run_the_corpus_and_the_weights(card, made):
    tokens = json.loads((made / "run" / "checkpoint" / "state.json").read_text())["progress"]
    assert f"| 1 | 4 | {tokens['tokens']:,} |" in card
    assert f"| all | 8 | {2 * tokens['tokens']:,} |" in card
    (source,) = PackedCorpus(made / "packed" / "chat-train").meta["sources"]
    counts = f"| {source['dialogues']:,} | {source['words']:,} | {source['examples']:,} |"
    assert f"| sample | en | not known | 1 {counts}" in card
    model = Backbone.load(made / "model").model
    assert f"| parameters | {model.num_parameters():,} |" in card


def test_the_card_names_no_place_of_the_machine(card, made):
    assert str(made) not in card
    assert '"corpus": "chat-train"' in card


def test_samples_are_shown_as_they_are(card):
    assert "    A: Hi!\n    B: ```<b>\n    A: ---\n    B: # 안녕\n" in card


def test_the_picture_is_one_and_comes_again(card, made):
    picture = (made / "model" / "curves.svg").read_bytes()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert draw_curves([read_history(made / "run")] * 2) == picture


def test_the_perplexity_is_the_validation_loss_of_training(made):
    """Over the whole corpus, where both have seen the same replies."""
    corpus = PackedCorpus(made / "packed" / "chat-valid")
    backbone = Backbone.load(made / "model", device="cpu", dtype="float32")
    (score,) = score_sources(backbone, corpus)
    recipe = read_history(made / "run").recipe
    nll, n = validation_loss(backbone.model, corpus, recipe, device=backbone.device)
    assert score.replies == len(corpus)
    assert score.pieces == n
    assert math.log(score.per_piece) == pytest.approx(nll, abs=0.02)  # contexts of 64 and of 128


def test_a_limit_takes_some_replies_of_each_source(made, tmp_path, write_dialogues, numbered):
    files = [write_dialogues(name, numbered(9 * i, 9)) for i, name in enumerate(["a", "b"])]
    pack(files, load_tokenizer(made / "tokenizer"), tmp_path / "out", split="valid")
    backbone = Backbone.load(made / "model", dtype="float32")
    scores = list(score_sources(backbone, PackedCorpus(tmp_path / "out"), most=4))
    assert [(s.name, s.replies) for s in scores] == [("a", 4), ("b", 4)]
    assert all(score.words == 4 * 7 for score in scores)  # "My name is" and four more


def test_open_corpora_make_share_alike_weights(made, tmp_path, write_dialogues, numbered):
    file = write_dialogues("songys_chatbot", numbered(0, 9))
    pack([file], load_tokenizer(made / "tokenizer"), tmp_path / "open", licences="open")
    run = tmp_path / "run"
    run.mkdir()
    recipe = json.loads((made / "run" / "recipe.json").read_text())
    recipe["stages"][0]["corpus"] = str(tmp_path / "open")
    (run / "recipe.json").write_text(json.dumps(recipe))
    (run / "metrics.csv").write_bytes((made / "run" / "metrics.csv").read_bytes())
    samples.write_samples(DIALOGUES, tmp_path / "talk")
    valid = made / "packed" / "chat-valid"
    card = make_card(made / "model", runs=[run], valid=valid, samples=tmp_path / "talk")
    assert "license: cc-by-sa-4.0" in card.read_text("utf-8")


def test_what_is_missing_or_does_not_fit_is_named(
    made, tmp_path, sample_talk, tiny_tokenizer, sample_file
):
    (tmp_path / "recipe.json").write_bytes((made / "run" / "recipe.json").read_bytes())
    valid = made / "packed" / "chat-valid"
    with pytest.raises(TrainingError, match=r"metrics\.csv is no history"):
        make_card(made / "model", runs=[tmp_path], valid=valid, samples=sample_talk)
    train = made / "packed" / "chat-train"
    with pytest.raises(TrainingError, match="packed for training"):
        make_card(made / "model", runs=[made / "run"], valid=train, samples=sample_talk)
    pack([sample_file], tiny_tokenizer, tmp_path / "other", split="valid")
    with pytest.raises(TrainingError, match="with another tokenizer"):
        make_card(
            made / "model", runs=[made / "run"], valid=tmp_path / "other", samples=sample_talk
        )
    with pytest.raises(CorpusError, match="none holds no sample dialogues"):
        make_card(made / "model", runs=[made / "run"], valid=valid, samples=tmp_path / "none")
