import pytest

from eval.ssa.detectors import find_faults, generic_reply
from eval.ssa.negatives import TARGETS, Corruptor, exchange_persons, is_wh_question
from eval.ssa.words import is_korean, normalise


def faults(context, reply):
    found = find_faults([normalise(turn) for turn in context], normalise(reply))
    return {finding.fault for finding in found}


NURSE = ["Hello!", "Hi, I work as a nurse in a small hospital.", "That must be hard."]


@pytest.mark.parametrize(
    ("context", "reply", "fault"),
    [
        (NURSE, "I work as a nurse in a small hospital.", "repetition"),
        (["What do you do?"], "I like to swim in the lake and I like to swim in the lake.",
         "repetition"),
        (["Any pets?", "I have two dogs at home.", "Nice!"], "I don't have two dogs at home.",
         "contradiction"),
        (["Do you eat meat?", "No, I never eat meat.", "And yesterday?"], "I always eat meat.",
         "contradiction"),
        (["Where did you grow up?"], "Yes, of course.", "ignored question"),
        (["My sister marries in a vineyard next month."],
         "My sister marries in a vineyard next month.", "copied context"),
        (["You said you wanted to learn Spanish."], "I said I wanted to learn Spanish.",
         "speaker confusion"),
        (["Did you see the film?"], "moon the to of landing a is film saw with the",
         "word salad"),
        (["Hello!"], "...", "empty"),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_explained(context, reply, fault):
    assert fault in faults(context, reply)
    for finding in find_faults([normalise(turn) for turn in context], normalise(reply)):
        assert str(finding).startswith(f"{finding.fault}: ")
        assert 0 < finding.keeps < 1


@pytest.mark.parametrize(
    ("context", "reply"),
    [
        (NURSE, "The night shifts are, but the patients make up for it."),
        (["Any pets?", "I have two dogs at home.", "Cats too?"], "No, I don't have a cat."),
        (["What colour is it?"], "Yellow, with a green roof."),
        (["Do you like tea?"], "Yes, I do."),
        (["How are you?"], "Okay, and you?"),
        (["I love tennis."], "I love tennis too, mostly on clay!"),
        (["You never call me."], "I am sorry, I will call you tonight."),
        (["Knock knock!"], "Ha ha ha, no no no!"),
        ([], "Hello there!"),
    ],
)
def test_sound_replies_have_no_fault(context, reply):
    assert faults(context, reply) == set()


def test_only_the_speakers_own_turns_are_repetition():
    # Two turns back is the speaker's own, one turn back the other person's.
    said = "The museum opens at ten on Sundays."
    assert faults([said, "Thank you!"], said) == {"repetition"}
    assert faults([said], said) == {"copied context"}


@pytest.mark.parametrize(
    ("reply", "generic"),
    [
        ("ok", True), ("I don't know.", True), ("Wow, that's nice!", True), ("네, 그렇군요.", True),
        ("Oh wow. I'm sorry to hear that.", True), ("I'm fine, and you?", False),
        ("Me too, I can't get enough of Roger Federer!", False), ("Lentil soup.", False),
    ],
)  # fmt: skip
def test_generic_replies(reply, generic):
    assert generic_reply(normalise(reply)) is generic


@pytest.mark.parametrize(
    "turn", ["I don't know .", "i do n't know", "I don ’ t know.", "  I  don't know"]
)
def test_one_spelling_for_all_corpora(turn):
    assert normalise(turn) == "i don't know"


@pytest.mark.parametrize("turn", ["Hello, I'm Ann.", "안녕하세요!", "", "?!", "a" * 500])
def test_normalising_twice_changes_nothing(turn):
    assert normalise(normalise(turn)) == normalise(turn)


def test_words():
    assert is_korean(["hello", "안녕"])
    assert not is_korean(["hello"])
    assert exchange_persons("i like your hat") == "you like my hat"
    assert is_wh_question("so, what is it?")
    assert not is_wh_question("is it what you want?")


TURNS = [
    "do you have any animals at home?",
    "i have two old horses in a stable behind the house",
    "what do you feed the horses in winter?",
    "mostly hay and oats with some carrots on a sunday",
    "that sounds like a lot of heavy work",
    "my daughter helps me with the saddles and the water",
    "is she going to ride in the tournament?",
]
OTHERS = ["the volcano erupted at dawn", "our orchestra rehearses puccini", "hay is cheap now",
          "oats and hay for the goats", "hay fever is terrible", "they sell hay"]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TARGETS.keys() - {"true"}))
def test_faulty_replies_differ_from_the_true_one(kind):
    import random

    rarity = dict.fromkeys((word for turn in [*TURNS, *OTHERS] for word in turn.split()), 6.0)
    corruptor = Corruptor(OTHERS, rarity, random.Random(0))
    made = [corruptor.faulty(TURNS, i, kind) for i in range(2, len(TURNS)) for _ in range(5)]
    replies = [(i, reply) for i, reply in enumerate(made) if reply is not None]
    assert replies, "none could be made"
    for i, reply in replies:
        assert reply.text != TURNS[2 + i // 5]
        assert reply.kind == kind
        assert reply.target < 1
