"""The notes of a trace in Korean."""

from pathlib import Path

import pytest

import chatbot
from ui.notes import KOREAN, said

NO_EFFECT = "효과 없음: 해당 단어가 나오지 않았습니다."


@pytest.mark.parametrize(
    ("note", "korean"),
    [
        ("joy had no effect: none of its words came.", f"기쁨 {NO_EFFECT}"),
        ("my own had no effect: none of its words came.", f"my own {NO_EFFECT}"),
        (
            "joy was asked at 0.6; the rule politics makes it left out.",
            "기쁨 0.6 요청은 규칙(정치)에 따라 제외되었습니다.",
        ),
        (
            "joy was asked at 0.6; the rule crime-victim makes it -1.",
            "기쁨 0.6 요청은 규칙(범죄 피해)에 따라 -1(으)로 바뀌었습니다.",
        ),
        ("Something {new}", "Something {new}"),
    ],
)
def test_a_note_is_said_in_the_language_of_the_interface(note, korean):
    assert said("ko", note) == korean
    assert said("en", note) == note


@pytest.mark.parametrize("note", KOREAN)
def test_a_note_is_one_that_chatbot_writes(note):
    """So that another wording there is noticed here; two are put together of parts there."""
    files = Path(chatbot.__file__).parent.glob("*.py")
    source = "".join(file.read_text("utf-8") for file in files)
    for part in note.replace("effect: ", "effect: {}").replace("left out", "{}").split("{}"):
        assert part.strip(".") in source
