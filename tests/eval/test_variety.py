"""What `chatbot eval variety` counts."""

import json

import pytest
from typer.testing import CliRunner

from chatbot.errors import InputError
from eval.commands import app
from eval.variety import variety_of, variety_of_file


def test_what_is_counted_by_hand():
    told = variety_of(
        [["Do you like tea?"], ["Hi!", "Hello.", "I like cats."], ["안녕하세요"], ["Why?"]],
        ["I see.", "i like cats!", "I see", "나는 차를 좋아해요"],
    )
    assert (told.repeats.count, told.generic.count, told.shared.count) == (1, 2, 2)
    assert told.own_language.count == 2  # English answered in English, twice
    assert told.distinct_1 == 7 / 10  # i, see, like, cats and three Korean words
    assert told.distinct_2 == 5 / 6
    assert told.words == 2.5


def test_what_the_bot_said_before_is_no_repeat_of_the_person():
    told = variety_of([["I like cats.", "So do I.", "Fine."]], ["So do I!"])
    assert told.repeats.count == 0


def test_a_share_has_an_interval_and_says_of_how_many():
    told = variety_of([["Hi"]] * 10, ["I see."] + ["The sea is cold today."] * 9)
    assert str(told.generic).startswith("10.0% [0.0")
    assert str(told.generic).endswith("(1 of 10)")


def test_the_command_prints_it_and_refuses_what_was_not_answered(tmp_path):
    answers = tmp_path / "answers.jsonl"
    line = {"context": ["Hi!"], "response": "Hello there, my friend."}
    answers.write_text(json.dumps(line) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["variety", str(answers)])
    assert result.exit_code == 0
    assert "distinct-2                    1.000" in result.stdout
    answers.write_text('{"context": ["Hi!"]}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1: expected `response`"):
        variety_of_file(answers)
