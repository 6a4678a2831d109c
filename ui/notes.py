"""The notes of a trace in the language of the interface.

`chatbot` writes them in English, some with names and numbers in them; what is unknown here stays as
it was written.
"""

import re

from ui.texts import Language, has_text, text

KOREAN = {
    # what chatbot writes, {} for what varies: the same in Korean
    "{} had no effect: it can hardly be read in the reply.":
        "{} 효과 없음: 답변에서 거의 읽히지 않습니다.",
    "{} had no effect: none of its words came.":
        "{} 효과 없음: 해당 단어가 나오지 않았습니다.",
    "{} had no effect: none of its words was near.":
        "{} 효과 없음: 나올 만한 단어가 없었습니다.",
    "{} had no effect: the others left it no room.":
        "{} 효과 없음: 다른 속성에 밀렸습니다.",
    "{} has no words in the language of this conversation; it was not steered.":
        "{}: 이 대화의 언어로 된 단어 목록이 없어 조절하지 않았습니다.",
    "{} was asked at {}; the rule {} makes it left out.":
        "{} {} 요청은 규칙({})에 따라 제외되었습니다.",
    "{} was asked at {}; the rule {} makes it {}.":
        "{} {} 요청은 규칙({})에 따라 {}(으)로 바뀌었습니다.",
    "{} pieces were not steered: their logits were not finite.":
        "토큰 {}개는 조절하지 못했습니다.",
    "All candidates were rejected; they were drawn again, held neutral.":
        "모든 후보가 거절되어 중립으로 다시 만들었습니다.",
    "These were rejected too; the reply is a ready-made one.":
        "다시 만든 후보도 거절되어 준비된 답을 했습니다.",
    "The message was too long: only its end was read.":
        "메시지가 길어 끝부분만 읽었습니다.",
    "Every candidate broke a rule; the least bad one was taken.":
        "모든 후보가 규칙에 걸려 가장 나은 것을 골랐습니다.",
}  # fmt: skip


def _pattern(note: str) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, note.split("{}"))))


_PATTERNS = [(_pattern(note), korean) for note, korean in KOREAN.items()]


def said(language: Language, note: str) -> str:
    """A note in a language, with attributes and rules called as the interface calls them."""
    for pattern, korean in _PATTERNS if language == "ko" else ():
        if match := pattern.fullmatch(note):
            return korean.format(*(_called(language, part) for part in match.groups()))
    return note


def _called(language: Language, part: str) -> str:
    for key in (f"attribute_{part}", f"rule_{part}"):
        if has_text(key):
            return text(language, key)
    return part
