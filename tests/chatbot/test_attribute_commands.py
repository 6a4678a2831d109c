"""`chatbot attributes`, and the options of `respond` and `chat` that steer."""

import json

import pytest
from typer.testing import CliRunner

from attribute_models.lexicon import load_shipped, shipped_lists
from chatbot.attributes import app as attributes_app
from chatbot.cli import app
from chatbot.errors import InputError, UnknownAttributeError

FEW = ("--candidates", "3", "--max-new-tokens", "8", "--device", "cpu")


@pytest.fixture
def attributes(tiny_model_dir):
    """`attributes("list")`: what it prints; an error of the product is raised."""

    def run(*arguments):
        command = [*arguments, "--model", str(tiny_model_dir)] if len(arguments) > 1 else arguments
        result = CliRunner().invoke(attributes_app, list(command), catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return run


@pytest.fixture
def chatbot(tiny_model_dir):
    def run(command, *arguments, typed=""):
        given = [command, *arguments, *FEW, "--model", str(tiny_model_dir)]
        return CliRunner().invoke(app, given, input=typed, catch_exceptions=False).output

    return run


def test_list_names_every_attribute_its_words_and_its_heads(attributes):
    lines = {line.split()[0]: line for line in attributes("list").splitlines()}
    assert lines.keys() == {*shipped_lists(), "neutral", "opinionated"}
    assert "words en 109   words ko 123   head emotion en" in lines["joy"]
    assert "head emotion en   head sentiment en" in lines["neutral"]


@pytest.mark.parametrize("given", [[], ["--all"], ["replies.jsonl", "--all", "--data", "folder"]])
def test_train_says_what_it_needs(attributes, given):
    with pytest.raises(InputError, match="--all with --data FOLDER"):
        attributes("train", *given)


def test_a_family_of_ones_own_is_trained_from_one_file(attributes, tmp_path, tiny_model_dir):
    lines = [
        {"text": text.format(n), "label": label, "context": ["how was it"]}
        for n in range(40)
        for label, text in [
            ("neutral", "it was number {} on the list"),
            ("calm", "take it slow {}"),
        ]
    ]
    file = tmp_path / "mood.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    out = tmp_path / "heads"
    attributes(
        "train", str(file), "--model", str(tiny_model_dir), "--device", "cpu", "--steps", "5",
        "--out", str(out),
    )  # fmt: skip
    told = json.loads((out / "mood" / "heads.json").read_text(encoding="utf-8"))
    assert told["labels"] == ["calm", "neutral"]
    assert told["calibration"].keys() == {"calm", "neutral"}
    assert "macro-F1" in (out / "mood" / "README.md").read_text(encoding="utf-8")


def test_inspect_shows_every_word_in_both_languages(attributes):
    shown = attributes("inspect", "joy", "--device", "cpu")
    for file in shipped_lists()["joy"]:
        assert [word for word in load_shipped(file).weights if word not in shown] == []
    assert shown.count("all reachable") == 2


def test_inspect_one_language_or_a_file(attributes, tmp_path):
    assert "기쁘다" not in attributes("inspect", "joy", "--language", "en")
    file = tmp_path / "pets.txt"
    file.write_text("cat\nkitten\t0.5\n")
    shown = attributes("inspect", str(file), "--language", "en")
    assert "pets, language en" in shown
    assert "kitten x0.5" in shown


def test_inspect_refuses_what_there_is_not(attributes):
    with pytest.raises(UnknownAttributeError, match="joy"):
        attributes("inspect", "nothing")
    with pytest.raises(InputError, match="it has some in en"):
        attributes("inspect", "music", "--language", "ko")
    with pytest.raises(InputError, match="en or ko"):
        attributes("inspect", "music", "--language", "fr")


def test_respond_is_steered(chatbot, tmp_path):
    file = tmp_path / "pets.txt"
    file.write_text("cat\nkitten\n")
    told = json.loads(
        chatbot(
            "respond", "hi", "--controls", "joy=.5,pets=-.3", "--bag", str(file), "--json",
            "--seed", "1",
        )
    )  # fmt: skip
    steering = told["trace"]["steering"]
    assert {n: a["strength"] for n, a in steering["attributes"].items()} == {
        "joy": 0.5,
        "pets": -0.3,
    }
    assert told["trace"]["controls"]["strengths"] == {"joy": 0.5, "pets": -0.3}


def test_respond_refuses_bad_controls(chatbot):
    with pytest.raises(InputError, match=r"joy=\.5"):
        chatbot("respond", "hi", "--controls", "joy")
    with pytest.raises(UnknownAttributeError):
        chatbot("respond", "hi", "--controls", "jo=.5")
    with pytest.raises(UnknownAttributeError):
        chatbot("chat", "--controls", "jo=.5")


def test_controls_of_a_chat_can_change(chatbot, tmp_path):
    saved = tmp_path / "chat.json"
    lines = ["hi", "/controls joy=.5", "hi you", "/controls jo=.5", "/controls much", "/controls"]
    typed = "\n".join([*lines, "hello", f"/save {saved}", "/quit"]) + "\n"
    out = chatbot("chat", "--seed", "1", typed=typed)
    assert "From now on: joy 0.5." in out
    assert "no attribute named 'jo'" in out
    assert "cannot read the control 'much'" in out
    assert "not steered" in out
    asked = [reply["trace"]["controls"] for reply in json.loads(saved.read_text())["replies"]]
    assert [one and one["strengths"] for one in asked] == [None, {"joy": 0.5}, None]
