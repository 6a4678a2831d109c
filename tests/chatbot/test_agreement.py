"""A yes is found by its words, and taken back by others."""

import pytest

from chatbot.agreement import agrees


@pytest.mark.parametrize(
    "reply",
    [
        "Yes.", "Um, yes.", "yeah, totally", "Oh, you're right!", "I agree with you.", "Of course",
        "That's a good idea.", "Haha, so true", "Me too!", "That is true, I think.",
        "Couldn't agree more.", "You can't argue with that.", "Well said.", "I'm with you on this.",
        "Amen.", "They had it coming.", "네", "완전 동감이에요.", "그러니까요!", "역시 그렇죠.",
        "네 말이 옳아.", "저라도 그랬을 거예요.", "네, 그래도 싸죠.", "어, 진짜 그래.",
        "네, 맞아요.", "응 나도 그렇게 생각해", "맞아 ㅋㅋ", "당연하지!", "그러게 말이야.",
        "그럼! 너도 알지?", "네, 그렇죠?",
    ],
)  # fmt: skip
def test_a_yes(reply):
    assert agrees(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "No.", "Yes, but that's not fair.", "I don't agree.", "Why do you say that?", "", "...",
        "You are right to be sad, but nobody deserves that.", "Yesterday I was at home.",
        "I'm sorry to hear that.", "Sure, you could talk to someone instead.",
        "Yes, that must hurt.", "그렇게 말하면 안 돼요.", "네, 많이 힘들었겠어요.",
        "그래도 사람은 다 달라요.", "네, 그런 말은 하지 마세요.", "어떤 일이 있었어?",
        "아니요.", "네, 하지만 그건 너무해요.", "글쎄, 잘 모르겠어.", "왜 그렇게 생각해?",
        "그럼 어떻게 하시나요?", "그렇게 생각하시나요?",
    ],
)  # fmt: skip
def test_no_yes(reply):
    assert not agrees(reply)
