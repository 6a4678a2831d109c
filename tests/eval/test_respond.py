"""Laws of answering a file of contexts."""

import json
from dataclasses import asdict, replace
from inspect import signature

import pytest
from typer.testing import CliRunner

from chatbot import cli
from chatbot.bot import Chatbot
from chatbot.controls import Controls, Schedule
from chatbot.errors import InputError, UnknownAttributeError
from chatbot.types import Ranking, Sampling
from eval import commands
from eval.commands import app
from eval.respond import ADDED, Settings, respond_file

SAMPLING = Sampling(candidates=3, max_new_tokens=5)
PLAIN = Settings(sampling=SAMPLING)
STEERED = Settings(
    seed=5,
    controls=Controls({"joy": 0.5}, Schedule.ramp("game", 0, 1, turns=3)),
    sampling=SAMPLING,
    ranking=Ranking(novelty=0.5),
)
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
    assert respond_file(bot, path, out, STEERED) == 3
    for i, (before, after) in enumerate(zip(CONTEXTS, read_jsonl(out), strict=True)):
        assert after.keys() - before.keys() == ADDED
        assert after.items() >= before.items()
        reply = bot.respond(
            before["context"],
            controls=STEERED.controls,
            seed=5 + i,
            sampling=SAMPLING,
            ranking=STEERED.ranking,
        )
        assert after["response"] == reply.text
        assert after["trace"] == json.loads(json.dumps(reply.to_dict()["trace"]))
        assert after["trace"]["seed"] == 5 + i
        assert [one["score"] for one in after["candidates"]] == [
            one.score for one in reply.candidates
        ]


@pytest.mark.parametrize("settings", [PLAIN, STEERED], ids=["plain", "steered"])
@pytest.mark.parametrize("n_done", [1, 3])
def test_going_on_gives_the_same_file(bot, write_jsonl, tmp_path, n_done, settings):
    path, whole, parts = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "a", tmp_path / "b"
    respond_file(bot, path, whole, settings)
    parts.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:n_done]) + b'{"id"')
    assert respond_file(bot, path, parts, settings) == 3 - n_done
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "line 1: made with seed 5, now it is 6"),
        ({"sampling": Sampling(candidates=4, max_new_tokens=5)}, "line 1: made with sampling"),
        ({"ranking": Ranking()}, "line 1: made with ranking .*now it is .*'novelty': 0.0"),
        ({"controls": Controls()}, "line 1: made with controls .*'joy': 0.5.*now it is None"),
        ({"controls": Controls({"joy": 0.5})}, "line 1: made with controls .*'schedule': None"),
        ({"controls": replace(STEERED.controls, kl_limit=1)}, "controls .*'kl_limit': 1"),
    ],
)
def test_other_settings_do_not_go_on(bot, write_jsonl, tmp_path, change, message):
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out"
    respond_file(bot, path, out, STEERED)
    before = out.read_bytes()
    with pytest.raises(InputError, match=message):
        respond_file(bot, path, out, replace(STEERED, **change))
    assert out.read_bytes() == before


def test_controls_are_not_added_to_a_file_made_without(bot, write_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out"
    respond_file(bot, path, out, PLAIN)
    with pytest.raises(InputError, match=r"line 1: made with controls None, now it is .*joy"):
        respond_file(bot, path, out, replace(PLAIN, controls=Controls({"joy": 0.5})))


def test_another_word_list_of_the_same_name_does_not_go_on(tiny_backbone, write_jsonl, tmp_path):
    bot, bag = Chatbot(tiny_backbone), tmp_path / "weather.txt"
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out"
    settings = replace(PLAIN, controls=Controls({"weather": 1.0}))
    bag.write_text("weather\ngood\n")
    bot.add_attribute(bag)
    respond_file(bot, path, out, settings)
    assert respond_file(bot, path, out, settings) == 0
    bag.write_text("weather\nfine\n")
    bot.add_attribute(bag)
    with pytest.raises(InputError, match="line 1: made with the word list weather of digest"):
        respond_file(bot, path, out, settings)


def test_an_unknown_attribute_is_told_before_any_work(bot, write_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out.jsonl"
    with pytest.raises(UnknownAttributeError, match="no attribute named 'joi'"):
        respond_file(bot, path, out, replace(PLAIN, controls=Controls({"joi": 0.5})))
    assert not out.exists()


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
        respond_file(bot, path, tmp_path / "out.jsonl", PLAIN)
    assert not (tmp_path / "out.jsonl").exists()


def test_the_command_answers_the_file(tiny_model_dir, write_jsonl, read_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", CONTEXTS), tmp_path / "out.jsonl"
    bag = tmp_path / "weather.txt"
    bag.write_text("weather\n")
    arguments = ["respond", str(path), str(out), "--model", str(tiny_model_dir)]
    arguments += ["--device", "cpu", "--seed", "3", "--controls", "joy=.5,weather=-.2"]
    arguments += ["--candidates", "2", "--temperature", "0.5", "--top-k", "7", "--top-p", "0.9"]
    arguments += ["--max-new-tokens", "6", "--novelty", "0.4", "--bag", str(bag)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    traces = [record["trace"] for record in read_jsonl(out)]
    assert [trace["seed"] for trace in traces] == [3, 4, 5]
    assert traces[0]["sampling"] == asdict(Sampling(2, 0.5, 7, 0.9, 6))
    assert traces[0]["ranking"]["novelty"] == 0.4
    assert traces[0]["controls"]["strengths"] == {"joy": 0.5, "weather": -0.2}


def test_the_command_has_the_options_of_answering_one_message():
    one, many = (signature(command).parameters for command in (cli.respond, commands.respond))
    of_one_message = {"text", "as_json", "seed"}  # a file has its texts, JSON and always a seed
    for name in one.keys() - of_one_message:
        assert many[name] == one[name]
