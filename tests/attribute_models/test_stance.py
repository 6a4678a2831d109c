"""The rules of stance, on replies of our own that they were not written from."""

import pytest

from attribute_models.data import RULES, families, read_examples
from attribute_models.stance import stance_of

TAKES_A_SIDE = (
    "I think they should close the border.",
    "Yes, they deserve it.",
    "No, people shouldn't be allowed to carry guns.",
    "I totally agree with you.",
    "You're right about that.",
    "I hate that party.",
    "I don't believe in God at all.",
    "That's a terrible thing to say.",
    "Absolutely, it is a disgrace.",
    "I'm against the death penalty.",
    "In my opinion every vote counts.",
    "They should be ashamed of themselves.",
    "Taxes are too high and it's unfair.",
    "I love the new president!",
    "I can't stand people like that.",
    "She is the worst minister ever.",
    "I support the strike.",
    "Everyone should go to church.",
    "What a stupid idea!",
    "I disagree, it was a good law.",
    "I don't like him very much.",
    "If you ask me, both are liars.",
    "Of course they are dangerous.",
    "He was the best leader we had.",
    "We need to stop this war.",
    "I don't trust the police.",
    "It is wrong to eat animals.",
    "I'm glad that they lost.",
)

KEEPS_OUT = (
    "I'm not sure what you mean.",
    "I don't know enough about it to say.",
    "Why do you ask?",
    "What do you think about it?",
    "Some people see it that way, others do not.",
    "It depends on whom you talk to.",
    "I have no opinion on that.",
    "That is hard to say.",
    "I never thought about it.",
    "What makes you say that?",
    "The next election is in November.",
    "That law was passed in 1996.",
    "There are several churches in this town.",
    "I would have to read more about it.",
    "I couldn't tell you, sorry.",
    "That's up to everyone to decide for themselves.",
    "Many people have asked that question before.",
    "I haven't heard of that.",
    "Who told you that?",
    "I'm not really familiar with politics.",
    "I have no idea.",
    "How come?",
    "Hard to tell from what they wrote.",
    "Different people would answer that differently.",
)

NEITHER = (
    "Thanks!",
    "I went to the shop.",
    "My sister is twelve.",
    "Good morning!",
    "See you soon.",
)


@pytest.mark.parametrize(
    ("texts", "stance", "other"),
    [(TAKES_A_SIDE, "opinionated", "neutral"), (KEEPS_OUT, "neutral", "opinionated")],
)
def test_the_rules_find_most_and_are_seldom_wrong(texts, stance, other):
    found = [stance_of(text) for text in texts]
    missed = [text for text, one in zip(texts, found, strict=True) if one != stance]
    assert found.count(stance) >= 0.75 * len(texts), missed
    assert found.count(other) <= 0.05 * len(texts), missed


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither_is_left_out(text):
    assert stance_of(text) is None


def test_what_is_both_is_left_out():
    assert stance_of("I don't know, but I hate it.") is None


def test_a_curly_apostrophe_changes_nothing():
    assert stance_of("I don’t like him.") == stance_of("I don't like him.") == "opinionated"


def test_a_rule_labels_the_turns_of_dialogues(tmp_path):
    file = tmp_path / "talk.jsonl"
    file.write_text(
        '{"turns": ["I hate it.", "Why do you ask?", "See you soon.", "I agree with you."]}\n'
    )
    found = read_examples(file, rule="stance")
    assert [(one.text, one.label, len(one.context)) for one in found] == [
        ("Why do you ask?", "neutral", 1),
        ("I agree with you.", "opinionated", 3),
    ]


def test_every_rule_that_a_family_names_is_there():
    named = {
        how["rule"] for one in families().values() for how in one.sources.values() if "rule" in how
    }
    assert named == RULES.keys()
