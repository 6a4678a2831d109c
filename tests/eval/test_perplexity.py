"""Laws of perplexity."""

import math

import pytest
import torch
from typer.testing import CliRunner

from chatbot.backbone import Backbone
from chatbot.errors import InputError
from chatbot.meena import MeenaForConditionalGeneration
from chatbot.prompt import build_context
from chatbot.scoring import reply_log_likelihoods
from eval import perplexity as module
from eval.commands import app
from eval.perplexity import ADDED, Score, score_dialogues, score_file, total

DIALOGUES = [
    {"id": i, "turns": [f"Hello number {i}", "I am fine, and you?", "Good day " * (i % 5), "안녕"]}
    for i in range(9)
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 4)


def test_a_model_without_opinion_has_the_perplexity_of_its_vocabulary(tiny_backbone):
    with torch.no_grad():
        flat = MeenaForConditionalGeneration(tiny_backbone.model.config)
        flat.lm_head.weight.zero_()
    backbone = Backbone(flat, tiny_backbone.tokenizer, name="flat", digest="")
    totals = total(score_dialogues(backbone, [d["turns"] for d in DIALOGUES]))
    assert totals.per_piece == pytest.approx(flat.config.vocab_size, rel=1e-4)
    assert totals.per_word == pytest.approx(
        flat.config.vocab_size ** (totals.tokens / totals.words), rel=1e-3
    )


def test_each_reply_is_scored_after_the_turns_the_bot_would_read(tiny_backbone):
    turns = [f"Turn number {i} of many, and the weather is good." for i in range(12)]
    (score,) = score_dialogues(tiny_backbone, [turns])
    pieces = [tiny_backbone.pieces(turn) for turn in turns]
    for i in range(1, 12):
        context = build_context(pieces[:i], tiny_backbone.special)
        reply = [*pieces[i], tiny_backbone.special.eos]
        (alone,) = reply_log_likelihoods(tiny_backbone.model, [context.ids], [reply])
        assert score.turn_nll[i - 1] == pytest.approx(-alone.sum().item(), abs=1e-3)
        assert (score.turn_tokens[i - 1], score.turn_words[i - 1]) == (len(reply), 10)


def test_the_parts_make_the_sums_and_the_dialogues_together_the_total(tiny_backbone):
    together = score_dialogues(tiny_backbone, [d["turns"] for d in DIALOGUES])
    for score, dialogue in zip(together, DIALOGUES, strict=True):
        assert score.nll == pytest.approx(sum(score.turn_nll), abs=1e-4)
        assert score.words == sum(len(turn.split()) for turn in dialogue["turns"][1:])
        (alone,) = score_dialogues(tiny_backbone, [dialogue["turns"]])
        assert alone.nll == pytest.approx(score.nll, abs=1e-3)
    totals = total(together)
    assert totals.per_piece == math.exp(totals.nll / totals.tokens)
    low, high = totals.per_piece_interval
    assert low <= totals.per_piece <= high


@pytest.mark.parametrize("turns", [["alone"], ["Hi", ""], ["", "\u200b", "\ud800"]])
def test_odd_dialogues_have_a_score(tiny_backbone, turns):
    (score,) = score_dialogues(tiny_backbone, [turns])
    assert len(score.turn_nll) == len(turns) - 1
    assert score.words == 0
    assert score.tokens == len(turns) - 1  # their ends
    assert str(total([score]))


def test_nothing_scored_is_infinite_and_not_an_error():
    assert total([Score((), (), ())]).per_word == math.inf


def test_all_keys_stay_and_the_scores_are_added(tiny_backbone, write_jsonl, read_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl.xz", DIALOGUES), tmp_path / "out.jsonl"
    scores = score_file(tiny_backbone, path, out)
    for before, after, score in zip(DIALOGUES, read_jsonl(out), scores, strict=True):
        assert after == before | score.to_dict()
        assert after.keys() - before.keys() == ADDED
    assert score_file(tiny_backbone, path, None) == scores


@pytest.mark.parametrize("n_done", [1, 4, 6, 9])
def test_going_on_gives_the_same_file_and_totals(tiny_backbone, write_jsonl, tmp_path, n_done):
    path, whole, parts = write_jsonl("in.jsonl", DIALOGUES), tmp_path / "a", tmp_path / "b"
    scores = score_file(tiny_backbone, path, whole)
    done = whole.read_bytes().splitlines(keepends=True)
    parts.write_bytes(b"".join(done[:n_done]) + b'{"id": 7, "tu')
    assert score_file(tiny_backbone, path, parts) == scores
    assert parts.read_bytes() == whole.read_bytes()


def test_scores_of_another_model_are_not_gone_on_with(tiny_backbone, write_jsonl, tmp_path):
    torch.manual_seed(1)
    network = MeenaForConditionalGeneration(tiny_backbone.model.config)
    other = Backbone(network, tiny_backbone.tokenizer, name="other", digest="")
    path = write_jsonl("in.jsonl", DIALOGUES)
    score_file(tiny_backbone, path, tmp_path / "out")
    with pytest.raises(InputError, match=r"line 1: nll is .* another model"):
        score_file(other, path, tmp_path / "out")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"turn": ["x"]}, "line 2: expected `turns`.*keys are turn"),
        ({"turns": []}, "line 2: expected `turns`"),
        ({"turns": "Hello"}, "line 2: expected `turns`"),
        ({"turns": ["x", None]}, "line 2: expected `turns`"),
        ({"turns": ["x", "y" * 9_000]}, "line 2: turn 2 has 9000 characters"),
    ],
)
def test_a_bad_line_is_told_before_any_work(tiny_backbone, write_jsonl, tmp_path, bad, message):
    path = write_jsonl("in.jsonl", [DIALOGUES[0], bad])
    with pytest.raises(InputError, match=message):
        score_file(tiny_backbone, path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_the_command_prints_both_perplexities_with_their_n(tiny_model_dir, write_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", DIALOGUES), tmp_path / "out.jsonl"
    arguments = ["perplexity", str(path), str(out), "--model", str(tiny_model_dir)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "perplexity per piece" in result.stdout
    assert "perplexity per word" in result.stdout
    assert "of 27 replies in 9 dialogues" in result.stdout
    assert len(out.read_text("utf-8").splitlines()) == 9
