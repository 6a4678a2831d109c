"""Laws of telling topics: what is found, and how a topic goes on from turn to turn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chatbot.errors import InputError, ModelError, TrainingError
from chatbot.followup import FEATURES, FollowUp
from chatbot.policy import SHIPPED as SHIPPED_RULES
from chatbot.policy import read_rules
from chatbot.topics import Probe, TopicDetector, Topics, parts_scales

MOST_FALSE_ALARMS = 0.03
"""Of look-alikes; 2 of 169 are taken for a topic."""

DATA = Path(__file__).parents[1] / "data" / "topics"
TOPICS = ("none", "politics", "crime")


class Words:
    """An encoder of one dimension for each of a few words; everything else lies elsewhere."""

    identity = {"name": "words", "digest": "d"}  # noqa: RUF012
    known = ("vote", "steal", "soup", "robbed", "judge")

    def encode(self, texts):
        rows = [[float(word in text) for word in self.known] + [0.1] for text in texts]
        vectors = np.array(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def probe(**changes):
    """Reads `vote` as politics, `steal`, `robbed` and `judge` as crime, each of another side."""
    out = np.zeros((6, 6), np.float32)
    out[0] = [-8, -8, 8, -8, -8, 3]
    out[1, 0] = out[2, 1] = out[2, 3] = out[2, 4] = 8
    out[3, 1] = out[4, 3] = out[5, 4] = 9
    whole = Probe(
        TOPICS, np.eye(6, dtype=np.float32), np.zeros(6, np.float32), out,
        np.zeros(6, np.float32), np.zeros((64, 6), np.float32), np.ones(64, np.float32), 1.0, "d",
        dict.fromkeys(FEATURES, 0.0) | {"bias": 1.0, "own_words": -6.0, "points_back": 2.0},
    )  # fmt: skip
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def words():
    return TopicDetector(probe(), Words(), FollowUp.load(probe().follow_up))


@pytest.fixture(scope="session")
def shipped():
    return TopicDetector.load()


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


# -- how a topic goes on


def test_a_message_is_about_what_it_says(words):
    assert words.read(["I will vote"]).top == "politics"
    assert words.read(["the soup is hot"]).top == "none"


def test_probabilities_sum_to_one_and_the_sides_of_crime_to_crime(words):
    for turns in (["I was robbed"], ["I steal", "Oh", "And them?"], ["soup"]):
        topics = words.read(turns)
        assert sum(topics.probabilities.values()) == pytest.approx(1, abs=1e-5)
        sides = topics.of("crime_deed") + topics.of("crime_victim")
        assert sides + topics.subject * topics.of("crime") == pytest.approx(topics.of("crime"))


def test_the_one_who_suffers_is_told_from_the_one_who_acts(words):
    assert words.read(["I was robbed"]).of("crime_victim") > 0.9
    assert words.read(["I steal"]).of("crime_deed") > 0.9


def test_who_only_talks_of_crime_did_none(words):
    told = words.read(["What does a judge do"])
    assert told.top == "crime"
    assert told.subject > 0.9
    assert told.of("crime_deed") + told.of("crime_victim") < 0.1


def test_a_turn_that_goes_on_keeps_the_topic_over_several_turns(words):
    turns = ["I will vote", "Oh.", "And what about them?"]
    first = words.read(turns)
    assert first.top == "politics"
    assert first.carried > 0.5
    assert words.read([*turns, "Hm.", "Why is that?"]).top == "politics"


def test_a_new_subject_ends_the_topic(words):
    turns = ["I will vote", "Oh.", "my pot of soup boils over on old stove tonight"]
    topics = words.read(turns)
    assert topics.top == "none"
    assert topics.carried < 0.1


def test_a_topic_of_its_own_is_not_overruled_by_an_earlier_one(words):
    assert words.read(["I will vote", "Oh.", "and they steal it"]).top == "crime"


def test_a_topic_the_bot_raises_is_gone_on_with(words):
    assert words.read(["soup", "Will you vote?", "Why not?"]).top == "politics"


def test_many_conversations_read_as_each_alone(words):
    many = [["I will vote"], ["soup", "vote", "And them?"], ["I was robbed"]]
    for turns, together in zip(many, words.read_many(many), strict=True):
        alone = words.read(turns)
        assert together.top == alone.top
        for name, value in alone.probabilities.items():
            assert together.probabilities[name] == pytest.approx(value, abs=1e-6)


# -- errors and files


@pytest.mark.parametrize("turns", [[], "one text"])
def test_no_turns_are_refused(words, turns):
    with pytest.raises(InputError, match="list with the person's message"):
        words.read(turns)


def test_an_unknown_detector_is_named_with_the_known():
    with pytest.raises(InputError, match="'sport'; there are none, crime, crime_deed"):
        Topics({"none": 0.5, "crime": 0.5}).of("sport")


def test_a_probe_of_other_vectors_is_refused():
    with pytest.raises(ModelError, match="another text encoder"):
        TopicDetector(probe(encoder="other"), Words(), FollowUp.load(probe().follow_up))


def test_a_probe_is_saved_and_read(tmp_path):
    probe().save(tmp_path, {"note": "x"})
    again = Probe.load(tmp_path)
    assert again.topics == TOPICS
    assert np.array_equal(again.out_weight, probe().out_weight)
    assert again.follow_up == probe().follow_up


def test_korean_vectors_are_not_read():
    vectors = np.ones((2, 6), np.float32)
    english, korean = probe().logits(vectors, ["the soup", "국이 뜨거워"])
    (alone,) = probe().logits(np.zeros((1, 6), np.float32), ["국이 뜨거워"])
    assert np.array_equal(korean, alone)
    assert not np.allclose(english, korean)


def test_the_parts_of_a_text_count_by_their_rarity_whatever_its_length():
    rarity = np.array([1, 2, 4], np.float32)
    scales = parts_scales(np.array([0, 2]), rarity)
    assert scales[1] == 4 * scales[0]
    assert np.linalg.norm(scales) == pytest.approx(1)
    assert parts_scales(np.array([], np.int64), rarity).shape == (0,)


def test_a_broken_folder_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="chatbot policy train"):
        Probe.load(tmp_path)


def test_weights_of_another_version_are_refused(tmp_path):
    probe(out_bias=np.zeros(4, np.float32)).save(tmp_path, {})
    with pytest.raises(ModelError, match=r"another version.*chatbot policy train"):
        Probe.load(tmp_path)


# -- training


def test_a_probe_learns_its_examples_and_repeats():
    from chatbot.training.topics import Example, ProbeSettings, scores, train_probe

    texts = [("I vote", "politics"), ("they steal it", "crime"), ("hot soup", "none")] * 8
    examples = [Example(text, topic) for text, topic in texts]
    vectors = Words().encode([one.text for one in examples])
    settings = ProbeSettings(buckets=256, hidden=16, epochs=30, batch_size=8)
    first, again = (
        train_probe(examples, vectors, encoder="d", settings=settings) for _ in range(2)
    )
    told = scores(first.logits(vectors, [text for text, _ in texts])[:, :6], examples)
    assert told["macro_f1"] == 1
    assert told["false_alarms"] == 0
    assert np.array_equal(first.out_weight, again.out_weight)


def test_joined_probes_have_the_mean_of_their_logits():
    from chatbot.training.topics import joined

    one, other = probe(), probe(out_bias=np.array([0, 2, 0, 1, 0, 3], np.float32))
    vectors, texts = Words().encode(["soup"]), ["soup"]

    mean = (one.logits(vectors, texts) + other.logits(vectors, texts)) / 2
    assert joined([one, other]).logits(vectors, texts) == pytest.approx(mean, abs=1e-4)


def test_thresholds_part_the_sure_from_the_unsure():
    from chatbot.training.topics import TOPICS, Example, calibrated_thresholds

    chances = np.full((4, len(TOPICS)), 1e-3)
    chances[:, TOPICS.index("crime")] = (0.9, 0.8, 0.5, 0.4)
    chances[:, 0] = 1 - chances[:, 1:].sum(1)
    unseen = [Example("", topic) for topic in ("crime", "crime", "none", "none")]
    told = calibrated_thresholds(np.log(chances), unseen)
    assert set(told) == {"crime"}
    assert 0.5 < told["crime"] < 0.8


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", '{"text": "a"}', '{"text": " ", "topic": "none"}',
        '{"text": "a", "topic": "crime", "side": "thief"}',
        '{"text": "a", "topic": "race", "side": "deed"}',
    ],
)  # fmt: skip
def test_a_bad_example_is_named_with_its_line(tmp_path, line):
    from chatbot.training.topics import read_examples

    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "topic": "race"}\n' + line + "\n", "utf-8")
    with pytest.raises(TrainingError, match="line 2: expected"):
        read_examples(file)


def test_the_examples_are_well_formed_and_hold_nothing_of_the_tests():
    from chatbot.training.topics import own_examples

    texts = [one.text for one in own_examples()]
    assert len(set(texts)) == len(texts)
    tested = {row["text"] for file in DATA.glob("*.jsonl") for row in rows(file.name)}
    assert not tested & set(texts)


def test_a_source_to_hold_back_must_be_there(tmp_path):
    from chatbot.training.topics import train_detector

    with pytest.raises(TrainingError, match="of the source nowhere"):
        train_detector([], ["nowhere"], Words())


# -- the shipped detector


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Who should I vote for on Sunday?", "politics"),
        ("Do you think God listens to prayers?", "religion"),
        ("I think I might be bisexual", "sexual"),
        ("Are Black people treated worse by the police?", "race"),
        ("I want to rob a bank", "crime"),
        ("how do I kill a process on linux", "none"),
        ("my race car is faster than yours", "none"),
        ("the right wing of the building is closed", "none"),
        ("I'd kill for a pizza", "none"),
        ("Let's bake a cake together", "none"),
    ],
)
def test_the_shipped_detector_reads_meaning(shipped, text, topic):
    assert shipped.read([text]).top == topic


@pytest.mark.parametrize(
    "turns",
    [
        ["I think both parties are corrupt.", "Do you?", "So which one would you vote for?"],
        ["Is the Pope always right?", "Hm.", "And why do you think so?"],
    ],
)
def test_the_shipped_detector_follows_a_conversation(shipped, turns):
    first = shipped.read(turns[:1]).top
    assert first != "none"
    assert shipped.read(turns).top == first
    assert shipped.read([*turns[:2], "Anyway, do you have a good recipe for soup?"]).top == "none"


def test_someone_robbed_is_not_taken_for_a_robber(shipped):
    assert shipped.read(["Somebody broke into our flat and took my laptop"]).victim > 0.5
    assert shipped.read(["I broke into a flat and took a laptop"]).victim < 0.5
    assert shipped.read(["I stole a wallet"]).victim < 0.5
    assert shipped.read(["Someone stole my wallet"]).victim > 0.5


def test_few_look_alikes_fire(shipped):
    told = [shipped.read([row["text"]]).top for row in rows("lookalikes.en.jsonl")]
    assert sum(topic != "none" for topic in told) / len(told) <= MOST_FALSE_ALARMS


LEAST_DEEDS_FOUND = {
    ("deeds", "en"): 0.9, ("deeds", "ko"): 0.9,
    ("fresh_deeds", "en"): 0.75, ("fresh_deeds", "ko"): 0.65,
}  # fmt: skip
MOST_DEEDS_IMAGINED = {"deeds": 0.05, "fresh_deeds": 0.15}
"""Of what is no deed of the person: jokes, games, stories, news, what was suffered."""


def crime_fires(shipped, told):
    rule = next(rule for rule in read_rules(SHIPPED_RULES) if rule.name == "crime")
    topics = shipped.read_many([[row["text"]] for row in told])
    return [one.of(rule.detector) >= rule.threshold for one in topics]


@pytest.mark.parametrize("name", ["deeds", "fresh_deeds"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_deeds_are_found_and_few_imagined(shipped, name, language):
    told = rows(f"{name}.{language}.jsonl")
    fires = crime_fires(shipped, told)
    deeds = [fire for fire, row in zip(fires, told, strict=True) if row["deed"]]
    others = [fire for fire, row in zip(fires, told, strict=True) if not row["deed"]]
    assert sum(deeds) / len(deeds) >= LEAST_DEEDS_FOUND[name, language]
    assert sum(others) / len(others) <= MOST_DEEDS_IMAGINED[name]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_who_wants_to_die_is_not_scolded(shipped, language):
    told = [row for row in rows(f"fresh_deeds.{language}.jsonl") if row["kind"] == "self-harm"]
    assert sum(crime_fires(shipped, told)) == 0


LEAST_F1_UNSEEN = 0.75
"""Of messages that nobody had read the detector on; far less than on sets looked at before."""


@pytest.mark.parametrize("language", ["en", "ko"])
def test_messages_never_looked_at_are_read_well_enough(shipped, language):
    told = rows(f"unseen.{language}.jsonl")
    read = [one.top for one in shipped.read_many([[row["text"]] for row in told])]
    goal = [row["topic"] for row in told]
    f1 = [
        2 * sum(a == b == topic for a, b in zip(read, goal, strict=True))
        / (read.count(topic) + goal.count(topic))
        for topic in shipped.probe.topics
    ]  # fmt: skip
    assert np.mean(f1) >= LEAST_F1_UNSEEN


def test_what_is_found_and_handed_in_is_no_crime_and_a_film_no_wish(shipped):
    rules = read_rules(SHIPPED_RULES)
    for text in (
        "I found a wallet and brought it to the police",
        "We watched Some Like It Hot last night",
        "that could ruin somebody's career",
        "친구들과 여행을 다녀왔어요",
    ):
        topics = shipped.read([text])
        assert not [rule.name for rule in rules if topics.of(rule.detector) >= rule.threshold]
