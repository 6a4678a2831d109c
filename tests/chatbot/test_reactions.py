"""Laws of reading what a reply does, and of preferring replies by it."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chatbot.errors import ModelError, TrainingError
from chatbot.policy import REACTIONS, SHIPPED, Policy, read_rules
from chatbot.ranking import fit_with
from chatbot.reactions import FILE, ReactionReader, ReactionWeights
from chatbot.training.reactions import Reaction, read_reactions, train_reactions
from chatbot.types import Candidate


class Letters:
    """An encoder that sees the length of a text alone."""

    identity = {"name": "letters", "digest": "d"}  # noqa: RUF012

    def encode(self, texts):
        angles = np.array([len(text) / 40 for text in texts], np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


EXAMPLES = [
    Reaction(f"{text} {who}", frozenset(shows))
    for text, shows in (
        ("That's wrong", {"disapproves", "takes_side"}),
        ("Great job", {"approves", "takes_side"}),
        ("I'm so sorry", {"sympathises"}),
        ("What happened", set()),
        ("그러지 마", {"disapproves", "takes_side"}),
    )
    for who in ("mate", "sir", "Anna", "my friend")
]


@pytest.fixture(scope="module")
def trained():
    return train_reactions(EXAMPLES, Letters())


@pytest.fixture(scope="module")
def reader(trained):
    return ReactionReader(trained[0], Letters())


@pytest.fixture(scope="session")
def shipped():
    return ReactionReader.load()


def shown(reader, text):
    (read,) = reader.read([text])
    return {name for name, chance in zip(REACTIONS, read, strict=True) if chance > 0.5}


def test_reactions_are_learned_each_by_itself(reader):
    assert shown(reader, "That's wrong dear") == {"disapproves", "takes_side"}
    assert shown(reader, "I'm so sorry dear") == {"sympathises"}
    assert shown(reader, "What happened dear") == set()
    assert shown(reader, "그러지 마 제발") == {"disapproves", "takes_side"}


def test_many_replies_read_as_each_alone(reader):
    texts = [one.text for one in EXAMPLES]
    alone = np.concatenate([reader.read([text]) for text in texts])
    assert np.allclose(reader.read(texts), alone, atol=1e-6)
    assert reader.read([]).shape == (0, len(REACTIONS))


def test_the_card_scores_replies_that_were_left_out(trained):
    _, card = trained
    assert card["examples"] == len(EXAMPLES)
    assert card["unseen"]["en"]["sympathises"]["n"] == 4
    assert card["unseen"]["ko"]["approves"]["n"] == 0


def test_training_again_gives_the_same_weights(trained):
    again, _ = train_reactions(EXAMPLES, Letters())
    assert np.array_equal(trained[0].parts_weight, again.parts_weight)


def test_weights_are_saved_and_read(trained, tmp_path):
    weights, _ = trained
    weights.save(tmp_path)
    again = ReactionWeights.load(tmp_path)
    texts = [one.text for one in EXAMPLES]
    vectors = Letters().encode(texts)
    assert again.encoder == "d"
    assert np.allclose(again.read(vectors, texts), weights.read(vectors, texts), atol=0.01)


def test_a_broken_file_says_what_to_do(trained, tmp_path):
    with pytest.raises(ModelError, match="chatbot policy train"):
        ReactionWeights.load(tmp_path)
    trained[0].save(tmp_path)
    tensors = load_file(tmp_path / FILE)
    save_file(tensors | {"bias": np.zeros(2, np.float16)}, tmp_path / FILE, {"encoder": "d"})
    with pytest.raises(ModelError, match="another version"):
        ReactionWeights.load(tmp_path)


def test_a_reader_of_other_vectors_is_refused(trained):
    class Other(Letters):
        identity = {"name": "other", "digest": "x"}  # noqa: RUF012

    with pytest.raises(ModelError, match="another text encoder"):
        ReactionReader(trained[0], Other())


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "a"}', '{"text": "a", "shows": ["joy"]}'])
def test_a_bad_example_is_named_with_its_line(tmp_path, line):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "a", "shows": []}) + "\n" + line + "\n", "utf-8")
    with pytest.raises(TrainingError, match="line 2: expected"):
        read_reactions(file)


def test_the_examples_are_different_replies():
    texts = [one.text for one in read_reactions()]
    assert len(set(texts)) == len(texts)
    assert all(text.strip() for text in texts)


# -- what rules prefer


def fired(*names):
    """What the shipped rules of these names say, the surest first."""
    rules = {rule.name: rule for rule in read_rules(SHIPPED)}
    return [rules[name] for name in names]


@pytest.fixture
def policy(reader):
    class NoTopics:
        detectors = tuple({rule.detector: 0 for rule in read_rules(SHIPPED)})

    return Policy.shipped(NoTopics(), reader)


def test_a_deed_wants_disapproval_and_no_praise(policy):
    wrong, great, sorry = policy.suits(
        fired("crime"), ["That's wrong", "Great job", "I'm so sorry"]
    )
    assert wrong > 0.6
    assert great < 0.2
    assert sorry < 0.2


def test_a_victim_wants_sympathy_and_a_topic_no_side(policy):
    replies = ["I'm so sorry", "Great job", "What happened"]
    sorry, great, _ = policy.suits(fired("crime-victim"), replies)
    assert sorry > great
    _, side, none = policy.suits(fired("politics"), replies)
    assert none > 0.6 > side


def test_of_replies_without_a_side_those_that_evade_come_last(policy):
    class Reads:
        def read(self, replies, wanted):
            kinds = {"side": "takes_side", "blank": "evades", "yes": "approves"}
            return np.array([[kinds.get(one) == name for name in REACTIONS] for one in replies])

    said = ["on it", "blank", "yes", "side"]
    scores = Policy(policy.rules, policy.detector, Reads()).suits(fired("religion"), said)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(said)


def test_what_a_surer_rule_prefers_is_not_overruled(policy):
    both = policy.suits(fired("crime", "crime-victim"), ["I'm so sorry"])
    assert both == policy.suits(fired("crime"), ["I'm so sorry"])


def test_nothing_is_preferred_without_a_rule_or_a_reader(policy):
    assert policy.suits([], ["What happened"]) is None
    assert Policy(policy.rules, policy.detector).suits(fired("crime"), ["What happened"]) is None


def test_the_fit_counts_the_reaction_beside_the_attributes():
    plain = Candidate("a", (1,), -1.0, "end")
    assert fit_with(plain, 1.0).fit == 1
    assert fit_with(plain, 0.0).fit == 0
    steered = Candidate("a", (1,), -1.0, "end", fit=0.4)
    assert 0.4 < fit_with(steered, 1.0).fit < 1


# -- the shipped reader


@pytest.mark.parametrize(
    ("reply", "reaction"),
    [
        ("That's terrible! Why would you do that to her?", "disapproves"),
        ("You really shouldn't steal.", "disapproves"),
        ("그런 짓은 하지 마세요.", "disapproves"),
        ("That's such a great plan!", "approves"),
        ("I'm so sorry this happened to you.", "sympathises"),
        ("I think he is the best president.", "takes_side"),
    ],
)
def test_the_shipped_reader_knows_plain_reactions(shipped, reply, reaction):
    assert reaction in shown(shipped, reply)


@pytest.mark.parametrize("reply", ["What do you think about it?", "어떻게 생각하세요?"])
def test_the_shipped_reader_sees_no_side_in_a_question_back(shipped, reply):
    assert shown(shipped, reply) <= {"evades"}


def test_the_shipped_reader_tells_what_would_do_anywhere_from_what_belongs_here(shipped):
    assert shown(shipped, "What do you mean?") == {"evades"}
    assert shown(shipped, "Do you go to church with them?") == set()


@pytest.mark.parametrize("reply", ["You're right, I don't know.", "What? I think he is a liar."])
def test_a_side_in_one_clause_is_a_side(shipped, reply):
    assert "takes_side" in shown(shipped, reply)
