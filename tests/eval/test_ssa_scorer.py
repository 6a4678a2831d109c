"""The shipped scorer, its laws and what it makes of bots that say nothing."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from chatbot.errors import InputError, ModelError
from eval.ssa import scorer as scorer_module
from eval.ssa.features import Tables, text_key
from eval.ssa.judge import Judge, Measures, calibrated, standardised
from eval.ssa.matching import TURNS, Matcher, stacked
from eval.ssa.negatives import is_question
from eval.ssa.scorer import KOREAN_IS_PARTIAL, SHIPPED, Scorer
from eval.ssa.train import natural_pairs, read_labels
from eval.ssa.trust import trust_lines
from eval.ssa.validate import auc, by_group, ece, partial_spearman, reliability, spearman
from eval.ssa.words import normalise

FOLDER = Path(scorer_module.__file__).parent
MOST_BYTES = 50_000_000

PAIRS = [
    (["I love tennis."], "Me too, I can't get enough of Roger Federer!"),
    (["I love tennis."], "That's nice."),
    (["I love tennis."], "The soup needs more salt and a bay leaf."),
    (["Where did you grow up?"], "In a fishing village on the west coast."),
    (["Where did you grow up?"], "Yes, of course."),
    (["Hi!", "Hello, how was your day?", "Long. My boss moved the deadline again."],
     "Again? How much work is left?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def scorer():
    return Scorer.load()


def test_scores_are_probabilities_and_specific_needs_sensible(scorer):
    for score in scorer.score(PAIRS):
        assert 0 <= score.specific <= score.sensible <= 1
        assert score.ssa == pytest.approx((score.sensible + score.specific) / 2, abs=1e-5)


def test_a_score_depends_on_no_other_pair(scorer):
    together = scorer.score(PAIRS)
    assert [scorer.score([pair])[0] for pair in PAIRS] == together
    assert scorer.score(PAIRS[::-1])[::-1] == together
    assert scorer.score(PAIRS * 2)[-len(PAIRS) :] == together


def test_the_example_of_the_paper(scorer):
    federer, nice, soup = scorer.score(PAIRS[:3])
    assert federer.specific > 10 * nice.specific
    assert federer.sensible > soup.sensible
    assert nice.sensible > soup.sensible


def test_reasons_lower_the_score(scorer):
    good, ignored = scorer.score(PAIRS[3:5])
    assert ignored.reasons[0].startswith("ignored question: ")
    assert good.reasons == ()
    assert ignored.sensible < 0.5 < good.sensible


def test_anything_has_a_score(scorer):
    contexts = [[], [""], ["."], ["Hello " * 500], ["a"] * 50]
    replies = ["", "...", "word " * 500, "🙂", "\ud800"]
    for score in scorer.score(list(itertools.product(contexts, replies))):
        assert 0 <= score.specific <= score.sensible <= 1


def test_no_pairs_no_scores(scorer):
    assert scorer.score([]) == []


def test_case_and_tokenisation_do_not_matter(scorer):
    written, logged = scorer.score(
        [(["I don't like rain."], "It's good for the garden."),
         (["i do n't like rain ."], "it 's good for the garden .")]
    )  # fmt: skip
    assert written == logged


def test_generic_bot_is_not_specific(scorer):
    lines = (FOLDER / "contexts" / "static-1.jsonl").read_text("utf-8").splitlines()[::8]
    contexts = [json.loads(line)["context"] for line in lines]
    replies = ["I don't know." if is_question(normalise(c[-1])) else "ok" for c in contexts]
    scores = scorer.score(list(zip(contexts, replies, strict=True)))
    assert max(score.specific for score in scores) < 0.05
    assert np.mean([score.ssa for score in scores]) < 0.42  # of the poorest bot people judged


def test_own_labelled_file(scorer):
    lines = (FOLDER / "selftest.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) >= 60
    scores = scorer.score([(r["context"], r["response"]) for r in records])
    for metric in ("sensible", "specific"):
        labels = np.array([r[metric] for r in records], float)
        assert auc(labels, np.array([getattr(s, metric) for s in scores])) > 0.85


def test_korean_says_that_it_is_partial(scorer):
    fits, repeats = scorer.score(
        [(["오늘 점심 뭐 먹었어요?"], "김치찌개를 먹었어요."),
         (["저는 작은 병원에서 간호사로 일해요.", "힘들겠네요."],
          "저는 작은 병원에서 간호사로 일해요.")]
    )  # fmt: skip
    assert fits.reasons == (KOREAN_IS_PARTIAL,)
    assert repeats.reasons[-1] == KOREAN_IS_PARTIAL
    assert repeats.reasons[0].startswith("repetition")


def test_shipped_files_are_small_and_named_by_their_digest(scorer):
    sizes = [file.stat().st_size for file in SHIPPED.iterdir()]
    assert max(sizes) <= MOST_BYTES
    assert sum(sizes) <= 2 * MOST_BYTES
    assert set(scorer.identity) == {"name", "digest"}
    assert len(scorer.identity["digest"]) == 64


def test_a_folder_without_a_scorer(tmp_path):
    with pytest.raises(ModelError, match="no scorer in"):
        Scorer.load(tmp_path)


def test_tables_come_back_as_saved(tmp_path):
    tables = Tables({text_key("tennis"): 6.5}, {text_key("ok"): 5.0}, np.eye(3))
    tables.save(tmp_path / "tables.safetensors")
    loaded = Tables.load(tmp_path / "tables.safetensors")
    assert loaded.rarity("tennis") == pytest.approx(6.5 / 3)
    assert loaded.said_anywhere("ok!") == 5
    assert loaded.said_anywhere("okay") == 0


def measures(rng, n=400):
    truth = rng.random(n)
    noisy = {name: truth + 0.3 * rng.standard_normal(n) for name in ("near", "match", "read")}
    rarity = rng.random(n)
    fixed = {"habit": np.zeros(n), "is_generic": np.zeros(n), "kept": np.ones(n)}
    return truth, Measures(**noisy, rarity=rarity, **fixed)


def test_calibration_brings_the_mean_and_keeps_the_order():
    rng = np.random.default_rng(0)
    truth, measured = measures(rng)
    labels = (rng.random(len(truth)) < truth).astype(float)
    blank = standardised(measured)
    judge = calibrated(blank, measured, labels, 0.5 * labels)
    sensible, specific = judge.probabilities(measured)
    assert sensible.mean() == pytest.approx(labels.mean(), abs=0.03)
    assert spearman(sensible, blank.probabilities(measured)[0]) == pytest.approx(1)
    assert np.all(specific <= sensible)
    assert ece(sensible, labels) < 0.12


def test_a_generic_reply_is_never_specific():
    _, measured = measures(np.random.default_rng(0), n=5)
    generic = Measures(**{n: getattr(measured, n) for n in Measures.__slots__[:5]},
                       is_generic=np.ones(5), kept=np.ones(5))  # fmt: skip
    judge = Judge(standardised(measured).mean, standardised(measured).spread, (9, 9), (9, 9))
    assert judge.probabilities(generic)[1].max() < 0.05


def test_matcher_gives_unit_vectors_and_ignores_missing_turns():
    rng = np.random.default_rng(0)
    shapes = {"context.in": (TURNS * 4, 8), "context.out": (8, 4), "reply.in": (4, 8),
              "reply.out": (8, 4)}  # fmt: skip
    weights = {name: rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    matcher = Matcher({**weights, "mix": np.ones(TURNS, np.float32), "scale": np.ones(1)})
    turns = np.stack([stacked(list(rng.standard_normal((2, 4))), 4)])
    assert np.linalg.norm(matcher.contexts(turns)) == pytest.approx(1, abs=1e-5)
    assert not turns[0, 2].any()
    assert matcher.logits(matcher.contexts(turns), np.eye(4, dtype=np.float32)).shape == (1, 4)


def test_measures_of_trust():
    a = np.array([1.0, 2, 3, 4, 5, 6])
    assert spearman(a, a**3) == pytest.approx(1)
    assert np.isnan(spearman(a, np.ones(6)))
    assert auc(np.array([0.0, 0, 0, 1, 1, 1]), a) == 1
    assert ece(np.full(10, 0.5), np.tile([0.0, 1], 5), bins=1) == 0
    assert sum(part.n for part in reliability(a, a)) == 6
    low, high = by_group(lambda rows: float(a[rows].mean()), [0, 0, 1, 1, 2, 2], resamples=200)
    assert 1.5 <= low < 3.5 < high <= 5.5


def test_partial_correlation_takes_a_common_cause_away():
    rng = np.random.default_rng(0)
    length = rng.standard_normal(2_000)
    a, b = (length + 0.5 * rng.standard_normal(2_000) for _ in range(2))
    assert spearman(a, b) > 0.7
    assert abs(partial_spearman(a, b, length)) < 0.1


def test_natural_pairs_alternate():
    dialogues = [[f"turn {i} of {d}" for i in range(5)] for d in range(4)]
    pairs, is_true = natural_pairs({"some": dialogues}, 20, seed=0)
    assert len(pairs) == 20
    assert is_true.tolist() == [1.0, 0.0] * 10
    for (context, reply), true in zip(pairs, is_true, strict=True):
        following = [d[d.index(context[-1]) + 1] for d in dialogues if context[-1] in d]
        assert not true or reply in following


def test_bad_labels_name_their_line(write_jsonl):
    good = {"context": ["Hi!"], "response": "Hello!", "sensible": 1, "specific": 0.5}
    path = write_jsonl("labels.jsonl", [good, good | {"specific": 3}])
    with pytest.raises(InputError, match="line 2"):
        read_labels(path)
    assert read_labels(write_jsonl("ok.jsonl", [good])).specific.tolist() == [0.5]


def test_trust_is_told_with_intervals(scorer, write_jsonl):
    records = [
        {"context": c, "response": r, "sensible": s, "specific": s / 2, "group": g, "system": n}
        for g, (c, _) in enumerate(PAIRS)
        for r, s, n in [(PAIRS[0][1], float(g % 2), "a"), ("ok", 0.5, "b")]
    ]
    text = "\n".join(trust_lines(scorer, write_jsonl("people.jsonl", records)))
    for expected in ("12 replies of 6 contexts", "Spearman", "given length", "ECE", "system b"):
        assert expected in text
