"""Laws of scoring how well candidates answer: what is shipped, and what training makes of texts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chatbot.coherence import ALIKE, FEATURES, LANGUAGES, Coherence, Contexts, Network
from chatbot.errors import CorpusError, InputError, ModelError, TrainingError
from chatbot.training import coherence as training
from chatbot.training.coherence import Lesson

D = 12


class Letters:
    """An encoder that knows which letters a text has, and counts its calls."""

    identity = {"name": "letters", "digest": "d"}  # noqa: RUF012

    def __init__(self):
        self.calls = 0

    def encode(self, texts):
        self.calls += 1
        rows = [[text.count(chr(97 + i)) + 0.1 for i in range(D)] for text in texts]
        vectors = np.array(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


ONE = (1.0, -2.0, -3.0)


def network(seed=0, **changes):
    rng = np.random.default_rng(seed)
    shapes = {
        "context_in": (3 * D, 8), "context_out": (8, D), "reply_in": (D, 8), "reply_out": (8, D),
        "mix": (3,), "bank_en": (5, D), "bank_ko": (5, D),
    }  # fmt: skip
    tensors = {
        name: rng.normal(size=shape).astype(np.float16).astype(np.float32)
        for name, shape in shapes.items()
    }
    tensors["scale"] = np.array([4.0], np.float32)
    return replace(Network(tensors, dict.fromkeys(LANGUAGES, ONE), "d"), **changes)


@pytest.fixture
def coherence():
    return Coherence(network(), Letters())


TALKS = [
    (["abc"], ["cde", "fgh", "abc"]),
    (["aab", "bcc", "cde"], ["dd"]),
    (["오늘 abc", "네", "뭐 해?"], ["하하 ab", "밥 먹어"]),
    (["ab", "ef"], []),
]


# -- scores


def test_conversations_together_get_what_they_get_alone(coherence):
    turns, said = zip(*TALKS, strict=True)
    together = coherence.score_many(turns, said)
    alone = [coherence.score(one, texts) for one, texts in TALKS]
    for a, b in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert [len(scores) for scores in together] == [3, 1, 2, 0]


def test_the_order_of_candidates_does_not_matter(coherence):
    turns, said = TALKS[0]
    assert coherence.score(turns, said[::-1]) == pytest.approx(coherence.score(turns, said)[::-1])


def test_all_conversations_cost_one_call_of_the_encoder(coherence):
    coherence.score_many(*zip(*TALKS, strict=True))
    assert coherence.embedder.calls == 1


def test_nothing_to_score_costs_nothing(coherence):
    assert coherence.score_many([], []) == []
    assert coherence.embedder.calls == 0


def test_an_empty_or_endless_candidate_is_scored(coherence):
    scores = coherence.score(["abc"], ["", "a" * 100_000, "🙂"])
    assert np.isfinite(scores).all()


def test_turns_long_past_do_not_count(coherence):
    late = ["ab", "cd"] * 4
    assert coherence.score(["zzz", "aaa", *late], ["fg"]) == coherence.score(late, ["fg"])


def test_each_language_has_its_own_weights():
    twice = Coherence(network(weights={"en": tuple(2 * w for w in ONE), "ko": ONE}), Letters())
    once = Coherence(network(), Letters())
    for turns, factor in ((["abc"], 2.0), (["안녕 abc"], 1.0)):
        expected = [factor * score for score in once.score(turns, ["cab"])]
        assert twice.score(turns, ["cab"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("turns", "echo", "own"),
    [
        (["aaa"], 1, 0),
        (["aaa", "bbb", "ccc"], 0, 0),
        (["ccc", "aaa", "bbb"], 0, 1),
        (["ccc", "aaa", "ddd", "eee", "bbb"], 0, 1),
        (["aaa", "ccc", "bbb"], 0, 0),
    ],
)
def test_saying_again_what_was_said_is_noticed(turns, echo, own):
    """The person's last turn, and any of the bot's; what the person said before may be taken up."""
    encode = Letters().encode
    contexts = Contexts.of([encode(turns)])
    (found,) = network().features(contexts, np.zeros(1, np.int64), encode(["aaa!"]), "en")
    told = dict(zip(FEATURES, found, strict=True))
    whole = pytest.approx(1 - ALIKE["en"], abs=1e-3)
    assert told["echo"] == (whole if echo else 0)
    assert told["own"] == (whole if own else 0)


def test_a_reply_that_fits_every_context_gains_nothing_by_it():
    """The match is held against other contexts: where all are alike it is zero."""
    one = network()
    same = np.tile(one.contexts(Contexts.of([np.eye(1, D, dtype=np.float32)])), (5, 1))
    everywhere = Network({**one.tensors, "bank_en": same}, one.weights, "d")
    replies = everywhere.replies(np.random.default_rng(1).normal(size=(7, D)).astype(np.float32))
    assert everywhere.match(np.tile(same[:1], (7, 1)), replies, "en") == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("turns", "said", "message"),
    [
        ([[]], [["a"]], "no turns"),
        (["abc"], [["a"]], "no turns"),
        ([["abc"]], [], "give one for each"),
    ],
)
def test_what_is_no_conversation_is_refused(coherence, turns, said, message):
    with pytest.raises(InputError, match=message):
        coherence.score_many(turns, said)


# -- files


WEIGHTS = {"en": (0.5, -3.0, -2.0), "ko": (0.25, -1.0, 0.0)}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    network(weights=WEIGHTS).save(tmp_path, {"seed": 3})
    loaded = Coherence.load(tmp_path, embedder=Letters())
    fresh = Coherence(network(weights=WEIGHTS), Letters())
    for turns, said in TALKS:
        assert loaded.score(turns, said) == fresh.score(turns, said)
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["seed"] == 3


def test_vectors_of_another_encoder_are_refused(tmp_path):
    network(encoder="other").save(tmp_path, {})
    with pytest.raises(ModelError, match=r"another text encoder .*chatbot train coherence"):
        Coherence.load(tmp_path, embedder=Letters())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_or_broken_file_is_named(tmp_path, name):
    network().save(tmp_path, {})
    (tmp_path / name).write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot be read"):
        Coherence.load(tmp_path, embedder=Letters())
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        Coherence.load(tmp_path, embedder=Letters())


# -- what is shipped


def test_the_shipped_model_fits_the_default_encoder():
    from chatbot.embedding import Embedder

    coherence = Coherence.load(embedder=Embedder.load())
    dull, apt = coherence.score(
        ["My train was late again."], ["What do you do for fun?", "How long did you have to wait?"]
    )
    assert apt > dull
    said = ["I play the guitar in a small band.", "Nice! I like music.", "What do you do?"]
    again, new = coherence.score(said, ["Nice, I like music!", "I am a teacher."])
    assert new > again
    again, new = coherence.score(
        ["저는 밴드에서 기타를 쳐요", "저는 음악을 좋아해요", "무슨 일 하세요?"],
        ["저는 음악을 좋아해요!", "회사에 다녀요"],
    )
    assert new > again


# -- training


def lesson(**changes):
    plain = Lesson(
        fragments={"en": 60, "ko": 60}, valid_fragments={"en": 40, "ko": 40},
        rivals={"en": 4, "ko": 4}, width=16, bank=16, epochs=30, drawn=2,
    )  # fmt: skip
    return replace(plain, **changes)


def write_dialogues(folder, n=60):
    """Every reply names the letter of the turn before it, in other words."""
    rng = np.random.default_rng(0)
    for lang, first, second in (("en", "so", "yes"), ("ko", "그래 그래", "맞아 맞아")):
        for split in ("train", "valid"):
            letters = [chr(97 + rng.integers(D)) for _ in range(n)]
            rows = [
                {"source": lang, "lang": lang, "turns": [f"{first} {x * 9}", f"{second} {x * 5}"]}
                for x in letters
            ]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{lang}.{split}.jsonl").write_text(text, encoding="utf-8")


def test_training_learns_which_reply_stands_where(tmp_path):
    write_dialogues(tmp_path)
    fragments = training.read_both([tmp_path], lesson())
    trained, card = training.train(fragments, {}, Letters(), lesson())
    coherence = Coherence(trained, Letters())
    letters = "abcdefghijkl"
    for first, second in (("so", "yes"), ("그래 그래", "맞아 맞아")):
        said = [f"{second} {x * 5}" for x in letters]
        for place, x in enumerate(letters):
            assert np.argmax(coherence.score([f"{first} {x * 9}"], said)) == place
    assert card["valid"]["en"]["places"] > 0
    assert all(w[0] > 0 and max(w[1:]) <= 0 for w in trained.weights.values())


def test_training_twice_gives_the_same(tmp_path):
    write_dialogues(tmp_path)
    few = lesson(epochs=1)
    fragments = training.read_both([tmp_path], few)
    assert fragments == training.read_both([tmp_path], few)
    one, two = (training.train(fragments, {}, Letters(), few)[0] for _ in range(2))
    assert one.weights == two.weights
    assert all((one.tensors[name] == two.tensors[name]).all() for name in one.tensors)


def test_the_generator_draws_at_places_of_the_fragments(tiny_bot):
    fragments = [training.Fragment("x", "en", ("Hi!", "Hello.", "Well?"))] * 6
    rivals = training.draw_rivals(tiny_bot.backbone, fragments, lesson())
    assert len(rivals) == 4
    for (number, turn), texts in rivals.items():
        assert 0 < turn < len(fragments[number].turns)
        assert len(texts) <= 2
    assert rivals == training.draw_rivals(tiny_bot.backbone, fragments, lesson())


def test_what_was_drawn_is_among_the_wrong_replies():
    fragments = [training.Fragment("x", "en", ("aa", f"bb{'c' * i}")) for i in range(4)]
    lines = training.Lines.of(fragments, {(2, 1): ["dd", "ee"]}, Letters())
    wrong = training.wrong_replies(lines, np.arange(4), 0)
    drawn = Letters().encode(["dd", "ee"])
    assert (lines.vectors[wrong[2, :2]] == drawn).all()
    assert (wrong[[0, 1, 3], 0] >= 0).all()  # any reply stands for what was not drawn


def test_too_few_dialogues_are_refused(tmp_path):
    write_dialogues(tmp_path, n=4)
    fragments = training.read_both([tmp_path], lesson())
    with pytest.raises(TrainingError, match=r"'en' to train on .* give folders with more"):
        training.train(fragments, {}, Letters(), lesson())


def test_the_command_names_a_folder_without_dialogues(tmp_path):
    from typer.testing import CliRunner

    from chatbot.training.commands import app

    result = CliRunner().invoke(
        app, ["coherence", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, CorpusError)
    assert not (tmp_path / "out").exists()
