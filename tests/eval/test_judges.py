"""Laws of the judges: what they read, what they refuse, how they are trained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chatbot.errors import InputError, ModelError
from eval import topic_texts
from eval.judge_training import calibration_error, quality, read_examples, train_judge
from eval.judges import (
    LABELS,
    NOTHING,
    PRETRAINED,
    Judge,
    Jury,
    Verdict,
    folder_of,
    hashed_words,
)

MOODS = {"joy": "glad", "anger": "cross", "neutral": "table"}


class Words:
    """An encoder whose vectors tell which of a few words a text has."""

    identity = {"name": "words", "digest": "1" * 64}  # noqa: RUF012

    def __init__(self, words=("glad", "cross", "table", "ball", "pan", "lamp")):
        self.words = words

    def encode(self, texts):
        found = [[text.lower().count(word) for word in self.words] + [0.1] for text in texts]
        rows = np.array(found, np.float32).reshape(len(texts), -1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def labelled(write_jsonl):
    rows = [
        {"text": f"a {word} number {i}", "label": label, "split": split, "source": "made"}
        for label, word in MOODS.items()
        for split, many in (("train", 30), ("valid", 10))
        for i in range(many)
    ]
    return write_jsonl("emotion.jsonl", rows)


@pytest.fixture
def judge(labelled):
    return train_judge("emotion", read_examples([labelled], most=100), Words())


def test_a_judge_learns_what_can_be_learnt_and_says_how_well(judge):
    texts = ["so glad today", "a cross man", "the table"]
    said = judge.probabilities(texts, Words().encode(texts))
    assert [judge.labels[i] for i in said.argmax(1)] == ["joy", "anger", "neutral"]
    assert said.sum(1) == pytest.approx([1, 1, 1])
    assert judge.card["valid"]["macro_f1"] == 1
    assert judge.card["counts"]["made.train"] == {"anger": 30, "joy": 30, "neutral": 30}


def test_saved_and_loaded_it_says_the_same(judge, tmp_path):
    judge.save(tmp_path)
    again = Judge.load(tmp_path, "emotion")
    texts = ["glad", "cross or glad?", "what"]
    vectors = Words().encode(texts)
    assert again.probabilities(texts, vectors) == pytest.approx(judge.probabilities(texts, vectors))
    assert again.thresholds.tolist() == judge.thresholds.tolist()
    assert again.card == judge.card


def test_training_again_gives_the_same_bytes(judge, labelled, tmp_path):
    train_judge("emotion", read_examples([labelled], most=100), Words()).save(tmp_path / "a")
    judge.save(tmp_path / "b")
    for name in ("emotion.safetensors", "emotion.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_judge_of_another_encoder_is_refused(judge):
    other = Words()
    other.identity = {"name": "words", "digest": "2" * 64}
    with pytest.raises(ModelError, match=r"trained on vectors of words \(1111.*judge train"):
        Jury(other, {"emotion": judge})


def test_a_missing_or_broken_judge_is_told(judge, tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the judge of emotion .*judge train"):
        Judge.load(tmp_path, "emotion")
    replace(judge, labels=("joy", "anger")).save(tmp_path)
    with pytest.raises(ModelError, match="has 2 labels"):
        Judge.load(tmp_path, "emotion")
    (tmp_path / "emotion.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot read the judge"):
        Judge.load(tmp_path, "emotion")


def test_a_verdict_knows_each_attribute_by_its_family(judge):
    verdict = Jury(Words(), {"emotion": judge}).judge(["glad", "table"])
    assert verdict.is_likeliest("joy").tolist() == [True, False]
    assert verdict.of("joy")[0] > verdict.of("joy")[1]


def test_labels_asked_together_do_not_count_against_each_other(judge):
    said = np.array([[0.1, 0.5, 0.4], [0.1, 0.4, 0.5], [0.3, 0.6, 0.1]], np.float32)
    assert judge.labels == ("anger", "joy", "neutral")
    verdict = Verdict({"emotion": judge}, {"emotion": said})
    assert verdict.is_likeliest("joy").tolist() == [True, False, True]
    assert verdict.is_likeliest("joy", ("joy", "neutral")).tolist() == [True, True, True]
    assert verdict.is_likeliest("neutral", ("joy", "neutral")).tolist() == [True, True, False]


def test_a_judge_may_read_words_alone_and_then_fits_any_encoder(labelled, tmp_path):
    judge = train_judge("emotion", read_examples([labelled], most=100), None)
    judge.save(tmp_path)
    verdict = Jury(Words(), {"emotion": Judge.load(tmp_path, "emotion")}).judge(["so glad", "x"])
    assert verdict.is_likeliest("joy").tolist()[0]
    assert judge.encoder == {}
    assert judge.card["reads"] == "words"


def test_parts_of_korean_words_are_read():
    assert set(hashed_words("축구를", 1 << 17)) & set(hashed_words("축구가", 1 << 17))


def test_labels_of_another_family_are_left_out(write_jsonl):
    rows = [{"text": label, "label": label, "split": "train"} for label in ("neutral", "positive")]
    (kept,) = read_examples([write_jsonl("a.jsonl", rows)], most=5, labels=LABELS["emotion"])
    assert kept.label == "neutral"


def test_one_in_twenty_neutral_texts_reaches_a_threshold(write_jsonl):
    rng = np.random.default_rng(0)
    rows = [
        {"text": " ".join(rng.choice(list(MOODS.values()), 3, p=p)), "label": label, "split": split}
        for label, p in (("joy", (0.6, 0.2, 0.2)), ("anger", (0.2, 0.6, 0.2)),
                         ("neutral", (0.2, 0.2, 0.6)))
        for split in ("train", "valid")
        for _ in range(400)
    ]  # fmt: skip
    examples = read_examples([write_jsonl("noisy.jsonl", rows)], most=1000)
    judge = train_judge("emotion", examples, Words())
    texts = [one.text for one in examples if not one.is_train and one.label == "neutral"]
    said = judge.probabilities(texts, Words().encode(texts))
    for label in ("joy", "anger"):
        column = judge.labels.index(label)
        assert 0.02 < (said[:, column] > judge.thresholds[column]).mean() <= 0.05
        verdict = Jury(Words(), {"emotion": judge}).judge(texts)
        assert verdict.passes(label).mean() <= 0.05


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a", "split": "train"}, "line 1: expected `text` and `label`"),
        ({"text": "a", "label": "joy", "split": "test"}, "line 1: `split` is 'test'"),
    ],
)
def test_bad_lines_are_named(write_jsonl, record, message):
    with pytest.raises(InputError, match=message):
        read_examples([write_jsonl("bad.jsonl", [record])], most=10)


def test_too_little_to_learn_from_is_told(write_jsonl):
    rows = [{"text": "a", "label": "joy", "split": "train"}]
    examples = read_examples([write_jsonl("few.jsonl", rows)], most=10)
    with pytest.raises(InputError, match="needs training texts of at least three labels"):
        train_judge("emotion", examples, Words())


def test_vague_labels_are_left_out_and_the_rest_is_capped(write_jsonl):
    rows = [
        {"text": f"t{i}", "label": "joy", "split": split, "fine": fine}
        for i in range(5)
        for split in ("train", "valid")
        for fine in ("joy", "approval+joy")
    ]
    kept = read_examples([write_jsonl("goemotions.jsonl", rows)], most=3)
    assert sum(one.is_train for one in kept) == 3
    assert len(kept) == 8
    assert kept == read_examples([write_jsonl("goemotions.jsonl", rows[::-1])], most=3)


def test_quality_of_known_predictions():
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    told = quality(said, np.array([0, 0, 1, 1]), ["a", "b"])
    assert told["accuracy"] == 0.75
    assert told["recall"] == {"a": 1.0, "b": 0.5}
    assert told["confusion"] == {"a": [2, 0], "b": [1, 1]}
    assert told["macro_f1"] == pytest.approx((2 * 2 / 5 + 2 / 3) / 2, abs=1e-4)


def test_a_judge_that_is_as_often_right_as_it_is_sure_is_calibrated():
    sure = np.full((4, 2), [0.75, 0.25], np.float32)
    flipped = sure[:, ::-1].copy()
    said = np.concatenate([sure, flipped])
    assert calibration_error(said, np.array([0, 0, 0, 1, 1, 1, 1, 0])) == pytest.approx(0)
    assert calibration_error(said, np.array([0, 0, 0, 0, 1, 1, 1, 1])) == pytest.approx(0.25)


def test_hashed_words_are_places_of_words_and_pairs():
    found = hashed_words("Oh no, oh no!", 1 << 15)
    # oh, no, ! and: < oh, oh no, no oh, no !, ! >
    assert len(found) == 8
    assert found == sorted(found)
    assert hashed_words("", 64) == hashed_words("...", 64)


# -- topics


def test_a_topic_needs_both_signals_where_both_are_there():
    clear = {"sports": 0.6, "music": 0.2, "other": 0.3}
    assert topic_texts.label_of(clear, None) == "sports"
    assert topic_texts.label_of(clear, "sports") == "sports"
    assert topic_texts.label_of(clear, "music") is None
    assert topic_texts.label_of({"sports": 0.2, "music": 0.1, "other": 0.4}, "music") is None
    assert topic_texts.label_of({"sports": 0.2, "music": 0.1, "other": 0.4}, None) == "other"
    assert topic_texts.label_of({"sports": 0.5, "music": 0.48, "other": 0.1}, None) is None


def test_turns_get_topics_and_copies_without_the_words_that_steer(
    write_jsonl, monkeypatch, tmp_path
):
    sentences = {
        "prototypes": {"sports": ["ball", "ball"], "food": ["pan", "pan"], "other": ["lamp"] * 2},
        "written": {"sports": ["kick it"], "food": ["fry it"], "other": ["so what"]},
    }
    file = tmp_path / "topics.json"
    file.write_text(json.dumps(sentences), encoding="utf-8")
    monkeypatch.setattr(topic_texts, "SENTENCES", file)
    rows = [
        {"turns": [f"my ball went over there {i}", f"that pan is old and brown {i}"], "n": i}
        for i in range(40)
    ]
    lines = topic_texts.topic_texts([write_jsonl("talk.jsonl", rows)], Words(), most=1000)
    by_source = {line["source"] for line in lines}
    assert by_source == {"topics", "topics-masked", "own", "near", "written"}
    assert all(("ball" in line["text"]) == (line["label"] == "sports")
               for line in lines if line["source"] == "topics")  # fmt: skip
    masked = [line["text"] for line in lines if line["source"] == "topics-masked"]
    assert masked
    assert not any("ball" in text.split() for text in masked)


# -- the shipped ones


@pytest.mark.parametrize("family", NOTHING)
def test_the_shipped_judges_fit_together_and_tell_how_good_they_are(family):
    judge = Judge.load(PRETRAINED, family)
    assert NOTHING[family] in judge.labels
    assert 0.4 < judge.card["valid"]["macro_f1"] <= 1
    assert judge.weight.shape == (len(judge.labels), 384)
    assert len(judge.words) == (0 if family == "topic" else 1 << 15)


@pytest.mark.parametrize("family", ["emotion", "sentiment"])
def test_the_shipped_korean_judges_read_words_alone_and_fit_any_encoder(family):
    judge = Judge.load(folder_of("ko"), family)
    assert set(judge.labels) == LABELS[family]
    assert judge.weight.shape == (len(judge.labels), 0)
    assert 0.4 < judge.card["valid"]["macro_f1"] <= 1
    verdict = Jury(Words(), {family: judge}).judge(
        ["정말 고마워요, 최고예요!", "짜증나 죽겠네 진짜"]
    )
    good, bad = ("joy", "anger") if family == "emotion" else ("positive", "negative")
    assert verdict.of(good)[0] > verdict.of(good)[1]
    assert verdict.of(bad)[1] > verdict.of(bad)[0]
