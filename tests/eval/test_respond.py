"""Laws of answering a file of contexts."""

import pytest
from typer.testing import CliRunner

from chatbot.bot import Chatbot
from chatbot.errors import InputError
from chatbot.types import Sampling
from eval.commands import app
from eval.respond import ADDED, respond_file

SAMPLING = Sampling(candidates=3, max_new_tokens=5)
CONTEXTS = [
    {"id": "a", "context": ["Hello"]},
    {"id": "b", "context": ["Hello", "Hi", "How are you?"], "note": "안녕"},
    {"id": "c", "context": ["Good weather today"]},
]


@pytest.fixture(scope="module")
def bot(tiny_backbone):
    return Chatbot(tiny_backbone)


def test_every_line_has_the_bots_reply_and_its_own_keys(bot, write_jsonl, read_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    path = write_jsonl("in.jsonl", CONTEXTS)
    assert respond_file(bot, path, out, seed=5, sampling=SAMPLING) == 3
    for i, (before, after) in enumerate(zip(CONTEXTS, read_jsonl(out), strict=True)):
        assert after.keys() - before.keys() == ADDED
        assert after.items() >= before.items()
        reply = bot.respond(before["context"], seed=5 + i, sampling=SAMPLING)
        assert after["response"] == reply.text
        assert after["trace"]["seed"] == 5 + i
        assert len(after["candidates"]) == 3


@pytest.mark.parametrize("n_done", [1, 3])
def test_going_on_gives_the_same_file(bot, write_jsonl, tmp_path, n_done):
    path, whole, parts = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "a", tmp_path / "b"
    respond_file(bot, path, whole, seed=0, sampling=SAMPLING)
    parts.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:n_done]) + b'{"id"')
    assert respond_file(bot, path, parts, seed=0, sampling=SAMPLING) == 3 - n_done
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "line 1: made with seed 0, now it is 1"),
        ({"sampling": Sampling(candidates=4, max_new_tokens=5)}, "line 1: made with sampling"),
    ],
)
def test_other_settings_do_not_go_on(bot, write_jsonl, tmp_path, change, message):
    path, settings = write_jsonl("in.jsonl", CONTEXTS), {"seed": 0, "sampling": SAMPLING}
    respond_file(bot, path, tmp_path / "out", **settings)
    with pytest.raises(InputError, match=message):
        respond_file(bot, path, tmp_path / "out", **settings | change)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"turns": ["x"]}, "line 2: expected `context`.*keys are turns"),
        ({"context": []}, "line 2: expected `context`"),
        ({"context": "Hello"}, "line 2: expected `context`"),
        ({"context": ["Hello", " \u200b "]}, "line 2: turn 2 of `context` is no text or empty"),
        ({"context": ["Hello", 3]}, "line 2: turn 2 of `context`"),
    ],
)
def test_a_bad_line_is_told_before_any_work(bot, write_jsonl, tmp_path, bad, message):
    path = write_jsonl("in.jsonl", [CONTEXTS[0], bad])
    with pytest.raises(InputError, match=message):
        respond_file(bot, path, tmp_path / "out.jsonl", seed=0, sampling=SAMPLING)
    assert not (tmp_path / "out.jsonl").exists()


def test_the_command_answers_the_file(tiny_model_dir, write_jsonl, read_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out.jsonl"
    arguments = ["respond", str(path), str(out), "--model", str(tiny_model_dir)]
    arguments += ["--candidates", "2", "--seed", "3", "--temperature", "0.5"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert [r["trace"]["seed"] for r in read_jsonl(out)] == [3, 4, 5]
    assert read_jsonl(out)[0]["trace"]["sampling"]["temperature"] == 0.5
