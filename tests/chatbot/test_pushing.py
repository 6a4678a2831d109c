"""Learned heads in a turn: nothing moves at strength 0, rows never meet, limits hold."""

import hashlib
from dataclasses import replace

import pytest
import torch

from attribute_models.heads import Heads, Push
from attribute_models.readers import Reader
from chatbot import Chatbot, Controls, Sampling, Schedule
from chatbot.binding import Steerer
from chatbot.pushing import LEAST_ODDS, Pushes, within

LABELS = ("neutral", "joy", "anger")
CALIBRATED = Push((0.0, 1.0, 2.0), (0.1, 0.5, 0.9), (1.0, 1.2, 1.6), full=2.0)
SAMPLING = Sampling(candidates=4, max_new_tokens=10)


class Letters:
    """An encoder whose vectors count letters: enough for a reader to tell texts apart."""

    def __init__(self):
        self.identity = {"name": "letters", "digest": "letters"}

    def encode(self, texts):
        import numpy as np

        rows = [[text.count(letter) + 0.1 for letter in "aeiotn"] for text in texts]
        vectors = np.asarray(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def bot(tiny_bot):
    """A tiny bot with random heads for joy, anger and neutral, and a reader."""
    import numpy as np

    generator = torch.Generator().manual_seed(0)
    size, pieces = tiny_bot.backbone.output_embedding().shape[::-1]

    def random(*shape):
        return torch.randn(shape, generator=generator)

    tensors = {
        "down": random(3, 2, size) / size**0.5, "up": random(3, size, 2) / 2,
        "bias": random(3, size) / 4, "pieces": random(3, pieces) / 2,
        "ahead": random(3, size) / 4, "ahead_bias": random(3),
    }  # fmt: skip
    heads = Heads(
        tensors, family="emotion", labels=LABELS, reference="neutral", language="en",
        backbone=tiny_bot.backbone.identity["digest"],
        calibration=dict.fromkeys(LABELS, CALIBRATED),
    )  # fmt: skip
    reader = Reader(
        np.asarray([[0, 0, 0, 0, 0, 0], [9, -9, 0, 0, 0, 0], [-9, 9, 0, 0, 0, 0]], np.float32),
        np.zeros(3, np.float32), family="emotion", labels=LABELS, encoder="letters",
    )  # fmt: skip
    one = Chatbot(tiny_bot.backbone)
    one.steerer = Steerer(tiny_bot.backbone)
    one.steerer.use_heads([heads], {"emotion": reader})
    one.steerer._embedder = Letters()
    return one


def answer(bot, controls, seed=3, turns="hello there"):
    return bot.respond(turns, controls=controls, seed=seed, sampling=SAMPLING)


def ids(reply):
    return [one.token_ids for one in sorted(reply.candidates, key=lambda one: one.row)]


def test_strength_zero_changes_nothing(bot):
    assert ids(answer(bot, {"joy": 0.0, "neutral": 0.0})) == ids(answer(bot, None))


def test_a_push_changes_what_is_drawn_and_no_weight(bot):
    def digest():
        weights = bot.backbone.model.state_dict().values()
        return hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()

    before = digest()
    assert ids(answer(bot, {"joy": 1.0})) != ids(answer(bot, None))
    assert digest() == before


def test_opposite_pushes_in_one_batch_do_not_mix(bot):
    asked = [{"joy": 1.0}, {"joy": -1.0}, None, {"neutral": 1.0}]
    together = bot.respond_many(
        ["hello there"] * 4, controls=asked, seeds=[3] * 4, sampling=SAMPLING
    )
    for reply, controls in zip(together, asked, strict=True):
        assert ids(reply) == ids(answer(bot, controls))


def test_the_trace_tells_of_the_push_and_what_came(bot):
    reply = answer(bot, {"joy": 0.5})
    told = reply.trace.steering.attributes["joy"]
    assert told.push == pytest.approx(CALIBRATED.of(0.5 * reply.trace.steering.share))
    assert 0 <= told.reading <= 1
    assert told.head == bot.steerer.heads[0].digest
    tokens = reply.trace.steering.tokens
    assert len(tokens) == len(reply.candidates[0].token_ids)
    assert any(token.gain for token in tokens)
    assert all(token.kl <= Controls().kl_limit + 1e-3 for token in tokens)


def test_the_gains_of_a_reply_are_its_log_odds(bot):
    """Steered less clean log-probability, summed: what steering did for this very reply."""
    reply = answer(bot, Controls({"joy": 1.0}, spread=(1.0,)))
    chosen = reply.candidates[0]
    gained = sum(token.gain for token in reply.trace.steering.tokens)
    assert gained > 0
    assert len(chosen.token_ids) > 0


def test_fit_is_what_the_reader_reads(bot):
    reply = answer(bot, {"joy": 1.0})
    reader, encoder = bot.steerer.readers["emotion"], Letters()
    for one in reply.candidates:
        if one.text:
            reading = reader.read(encoder.encode([one.text]))[0][LABELS.index("joy")]
            assert one.fit == pytest.approx(float(reading), abs=1e-5)


def test_neutral_keeps_opinions_out_and_holds_every_family(bot):
    reply = answer(bot, {"neutral": 1.0})
    asked = reply.trace.steering.attributes
    assert asked["neutral"].push > 0
    assert asked["positive"].strength == asked["negative"].strength == -1.0
    kept = answer(bot, {"neutral": 1.0, "positive": 0.4})
    assert kept.trace.steering.attributes["positive"].strength == 0.4


def test_other_languages_are_steered_by_words_alone(bot):
    reply = answer(bot, {"joy": 1.0}, turns="안녕하세요 오늘 뭐 했어요?")
    told = reply.trace.steering.attributes["joy"]
    assert told.push == 0
    assert told.language == "ko"


def test_feedback_makes_up_for_the_last_reply(bot):
    def strength(shown, feedback):
        controls = Controls(schedule=Schedule.constant("joy", 0.5), feedback=feedback)
        reply = bot.respond(
            ["hi", shown, "hello there"], controls=controls, seed=1, sampling=SAMPLING
        )
        return reply.trace.steering.attributes["joy"].strength if reply.trace.steering else 0.0

    assert strength("eeee", 0.0) == strength("aaaa", 0.0) == 0.5
    assert strength("eeee", 0.5) > 0.5  # it showed none of it
    assert strength("aaaa", 0.5) < 0.5  # it showed all of it


def test_a_trigger_waits_for_its_word(bot):
    controls = Controls(schedule=Schedule.triggered("anger", 0.8, on=["idiot"], half_life=1))
    calm = bot.respond("hello there", controls=controls, seed=1, sampling=SAMPLING)
    hurt = bot.respond("you idiot!", controls=controls, seed=1, sampling=SAMPLING)
    later = bot.respond(
        ["You IDIOT", "oh", "well then"], controls=controls, seed=1, sampling=SAMPLING
    )
    assert calm.trace.steering is None
    assert hurt.trace.steering.attributes["anger"].strength == pytest.approx(0.8)
    assert later.trace.steering.attributes["anger"].strength == pytest.approx(0.4)


@pytest.mark.parametrize("mode", ["layers", "pplm"])
def test_gradient_modes_pull_by_heads_and_words(bot, mode):
    controls = Controls({"joy": 1.0}, mode=mode)
    reply = answer(bot, controls)
    told = reply.trace.steering
    assert told.mode == mode
    assert any({"joy", "joy (words)"} <= token.after.keys() for token in told.tokens)
    assert ids(reply) != ids(answer(bot, None))
    mixed = bot.respond_many(
        ["hello there"] * 2, controls=[controls, None], seeds=[3, 3], sampling=SAMPLING
    )
    assert ids(mixed[0]) == ids(reply)
    assert ids(mixed[1]) == ids(answer(bot, None))


# -- one step


@pytest.fixture
def step():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(6, 50, generator=generator) * 3, torch.randn(6, 8, generator=generator)


def random_heads(size, pieces):
    generator = torch.Generator().manual_seed(6)
    shapes = {
        "down": (2, 2, size), "up": (2, size, 2), "bias": (2, size), "pieces": (2, pieces),
        "ahead": (2, size), "ahead_bias": (2,),
    }  # fmt: skip
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return Heads(
        tensors, family="f", labels=("neutral", "joy"), reference="neutral", language="en",
        backbone="x",
    )  # fmt: skip


def pushes(push, limit=2.0, rows=6):
    output = torch.randn(50, 8, generator=torch.Generator().manual_seed(7))
    amounts = torch.zeros(rows, 2)
    amounts[:, 1] = push
    return Pushes(
        [random_heads(8, 50)], [amounts], torch.ones(rows).bool(), torch.ones(rows), output,
        temperature=0.9, limit=torch.full((rows,), limit),
    )  # fmt: skip


def test_rare_pieces_are_never_raised(step):
    clean, hidden = step
    logits = clean.clone()
    pushes(0.5, limit=100.0).move(logits, clean, hidden)
    rare = clean < clean.amax(1, keepdim=True) + torch.tensor(LEAST_ODDS).log()
    assert (logits[rare] <= clean[rare] + 1e-5).all()


@pytest.mark.parametrize("limit", [0.05, 0.5, 3.0])
def test_no_piece_goes_beyond_the_limit(step, limit):
    clean, hidden = step
    logits = clean.clone()
    rows, kl = pushes(3.0, limit=limit).move(logits, clean, hidden)
    p, q = (clean / 0.9).log_softmax(-1), (logits / 0.9).log_softmax(-1)
    spent = (q.exp() * (q - p)).sum(1)
    assert rows.tolist() == list(range(6))
    assert (spent <= limit * 1.01 + 1e-5).all()
    assert torch.allclose(spent, kl, atol=1e-4)


def test_rows_that_ended_are_left_alone(step):
    clean, hidden = step
    one, logits = pushes(1.0), clean.clone()
    one.end(2)
    one.move(logits, clean, hidden)
    assert torch.equal(logits[2], clean[2])
    assert not torch.equal(logits[3], clean[3])
    one.keep_rows([2, 4])
    logits = clean[[2, 4]].clone()
    one.move(logits, clean[[2, 4]], hidden[[2, 4]])
    assert torch.equal(logits[0], clean[2])
    assert not torch.equal(logits[1], clean[4])


def test_states_that_are_no_numbers_fall_back(step):
    clean, hidden = step
    hidden[1] = float("nan")
    logits = clean.clone()
    rows, _ = pushes(1.0).move(logits, clean, hidden)
    assert 1 not in rows.tolist()
    assert torch.equal(logits[1], clean[1])


def test_ruled_out_pieces_stay_ruled_out(step):
    clean, _ = step
    clean[:, :3] = float("-inf")
    steered = clean + torch.randn(6, 50, generator=torch.Generator().manual_seed(8)) * 4
    found, kl = within(clean, steered, torch.full((6,), 0.2), 1.0)
    assert (found[:, :3] == float("-inf")).all()
    assert kl.isfinite().all()
    assert (kl <= 0.2 + 1e-4).all()


def test_replay_repeats_a_pushed_reply(bot):
    reply = answer(bot, {"joy": 0.7, "anger": 0.2})
    assert ids(bot.replay(reply.trace)) == ids(reply)
    assert replace(reply, timings={}).to_dict()["trace"]["steering"]["attributes"]["joy"]["push"]
