"""Learned heads in a turn: nothing moves at strength 0, rows never meet, limits hold."""

import copy
import hashlib
import math
from dataclasses import replace

import pytest
import torch

from attribute_models.heads import Heads, Push
from attribute_models.readers import Reader
from chatbot import Chatbot, Controls, Sampling, Schedule
from chatbot.backbone import Backbone
from chatbot.binding import Steerer
from chatbot.pushing import LEAST_ODDS, Pushes, Step, within
from chatbot.steering import Steering, against_the_rest

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


@pytest.mark.parametrize("seed", [1, 20, 300])
def test_a_conversation_alone_draws_what_it_draws_in_a_batch(bot, seed):
    own = bot.backbone
    # In float32 the products of another batch size round differently, and once in some thousand
    # pieces that tips the choice between two neighbours.
    model = copy.deepcopy(own.model).double()
    exact = Chatbot(Backbone(model, own.tokenizer, **own.identity))
    exact.steerer = bot.steerer
    turns = ["hello there", "how are you?", "I like to read", "what now?"]
    asked = [{}, {"joy": 0.6}, {"anger": 1.0, "game": 0.5}, {"joy": -1.0, "anger": 0.4}]
    seeds = [seed + i for i in range(4)]
    more = Sampling(candidates=8, max_new_tokens=16)
    together = exact.respond_many(turns, controls=asked, seeds=seeds, sampling=more)
    lengths = {len(one.token_ids) for reply in together for one in reply.candidates}
    assert len(lengths) > 3  # rows leave the batch at different times
    for turn, controls, own_seed, reply in zip(turns, asked, seeds, together, strict=True):
        alone = exact.respond(turn, controls=controls, seed=own_seed, sampling=more)
        assert ids(alone) == ids(reply)


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


def test_a_turn_is_pushed_by_the_heads_of_its_language(bot):
    english = bot.steerer.heads[0]
    korean = Heads(
        {name: -tensor for name, tensor in english.tensors.items()}, family="emotion_ko",
        labels=LABELS, reference="neutral", language="ko", backbone=english.backbone,
        calibration=english.calibration,
    )  # fmt: skip
    one = Chatbot(bot.backbone)
    one.steerer = Steerer(bot.backbone)
    reader = bot.steerer.readers["emotion"]
    one.steerer.use_heads([english, korean], {"emotion": reader, "emotion_ko": reader})
    one.steerer._embedder = bot.steerer._embedder
    turns = ["hello there", "안녕하세요 오늘 뭐 했어요?"]
    assert [one.steerer.learned("joy", language) for language in ("en", "ko")] == [(0,), (1,)]
    for mode in ("hidden", "layers"):
        controls = Controls({"joy": 1.0}, mode=mode)
        both = one.respond_many(turns, controls=[controls] * 2, seeds=[3, 3], sampling=SAMPLING)
        for reply, turn, heads in zip(both, turns, (english, korean), strict=True):
            told = reply.trace.steering.attributes["joy"]
            assert told.head == heads.digest
            assert ids(reply) == ids(answer(one, controls, turns=turn))


def test_labels_of_one_family_asked_together_are_read_against_the_others():
    said = {"neutral": 0.05, "joy": 0.5, "surprise": 0.45}
    both = ("joy", "surprise")
    assert against_the_rest(said, "joy", ("joy",)) == pytest.approx(0.5)
    assert against_the_rest(said, "joy", both) == pytest.approx(0.5 / 0.55)
    assert against_the_rest(said, "surprise", both) == pytest.approx(0.45 / 0.5)
    assert against_the_rest(said, "neutral", both) == 0.05


def test_what_is_asked_together_is_to_come_together(bot):
    """A candidate that shows both by half fits better than one that shows one of them fully."""

    class Row:
        plan = type("Plan", (), {"strengths": {"joy": 1.0, "game": 1.0}})

        def __init__(self, **met):
            self.met, self.weight = met.__getitem__, {"joy": 1.0, "game": 1.0}.__getitem__

    def fit(**met):
        return Steering.fit(type("S", (), {"_groups": [[Row(**met)]]}), 0, 0)

    assert fit(joy=0.5, game=0.5) == pytest.approx(0.5)
    assert fit(joy=1.0, game=1.0) == pytest.approx(1.0)
    assert 0 <= fit(joy=1.0, game=0.0) < fit(joy=0.3, game=0.3)
    assert fit(joy=0.0, game=0.0) == 0


def test_heads_leave_room_for_lists_asked_with_them(bot):
    def told(**asked):
        return answer(bot, Controls(asked, spread=(1.0,))).trace.steering.attributes

    alone, both = told(joy=1.0), told(joy=1.0, game=1.0)
    assert both["joy"].wanted < alone["joy"].wanted
    assert both["game"].wanted > told(game=1.0)["game"].wanted
    assert both["joy"].push == alone["joy"].push  # it shares its family with nobody


def test_labels_of_a_family_share_the_push(bot):
    def push(**asked):
        told = answer(bot, Controls(asked, spread=(1.0,))).trace.steering.attributes
        return told["joy"].push

    assert push(joy=1.0, anger=1.0) == pytest.approx(push(joy=1.0) / 2)
    assert push(joy=1.0, anger=-1.0) == pytest.approx(push(joy=1.0))


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


def moved(one, base, hidden, tilted=()):
    norm = (base / 0.9).logsumexp(1)
    given = Step(base, base.clone(), norm, torch.zeros(len(base)))
    rows, kl = one.move(given, hidden, torch.tensor(tilted, dtype=torch.long))
    return given, rows, kl


def test_rare_pieces_are_never_raised(step):
    base, hidden = step
    given, _, _ = moved(pushes(0.5, limit=100.0), base, hidden)
    rare = base < base.amax(1, keepdim=True) + torch.tensor(LEAST_ODDS).log()
    assert (given.logits[rare] <= base[rare] + 1e-5).all()
    assert (given.logits[~rare] != base[~rare]).any()


@pytest.mark.parametrize("limit", [0.05, 0.5, 3.0])
def test_no_piece_goes_beyond_the_limit(step, limit):
    base, hidden = step
    given, rows, kl = moved(pushes(3.0, limit=limit), base, hidden, tilted=[1, 2])
    p, q = (base / 0.9).log_softmax(-1), (given.logits / 0.9).log_softmax(-1)
    spent = (q.exp() * (q - p)).sum(1)
    assert rows.all()
    assert (spent <= limit * 1.01 + 1e-5).all()
    assert torch.allclose(spent, kl, atol=1e-4)
    gained = (q - p) - ((given.logits - base) / 0.9 - given.log_z[:, None])
    assert gained.abs().max() < 1e-4  # log_z is the log of the normaliser


def test_rows_that_ended_are_left_alone(step):
    base, hidden = step
    one = pushes(1.0)
    one.end(2)
    given, _, _ = moved(one, base, hidden)
    assert torch.equal(given.logits[2], base[2])
    assert not torch.equal(given.logits[3], base[3])
    one.keep_rows([2, 4])
    given, _, _ = moved(one, base[[2, 4]], hidden[[2, 4]])
    assert torch.equal(given.logits[0], base[2])
    assert not torch.equal(given.logits[1], base[4])


@pytest.mark.parametrize("limit", [0.05, 100.0])
def test_a_row_is_moved_as_if_it_were_alone(step, limit):
    base, hidden = step
    base[:, 7] = -20.0
    tilted = base.clone()
    tilted[1, 7] += 2.0  # the lists moved a piece of one row, which is likely in none
    rows, found = range(len(base)), []
    for part in (list(rows), *([row] for row in rows)):
        start, now = base[part], tilted[part]
        given = Step(start, now.clone(), (start / 0.9).logsumexp(1), torch.zeros(len(part)))
        moved_pieces = (now != start).any(0).nonzero().squeeze(1)
        pushes(1.5, limit, rows=len(part)).move(given, hidden[part], moved_pieces)
        found.append(given.logits)
    together, *alone = found
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert not torch.allclose(together, tilted, atol=1e-2)
    rare = base < base.amax(1, keepdim=True) + torch.tensor(LEAST_ODDS).log()
    rare[1, 7] = False
    assert torch.equal(together[rare], base[rare])


def test_states_that_are_no_numbers_fall_back(step):
    base, hidden = step
    hidden[1] = float("nan")
    given, rows, _ = moved(pushes(1.0), base, hidden)
    assert rows.tolist() == [True, False, True, True, True, True]
    assert torch.equal(given.logits[1], base[1])


def test_ruled_out_pieces_stay_ruled_out(step):
    base, hidden = step
    base[:, :3] = float("-inf")
    given, _, kl = moved(pushes(4.0, limit=0.2), base, hidden, tilted=[0, 1])
    assert (given.logits[:, :3] == float("-inf")).all()
    assert kl.isfinite().all()


def test_all_of_a_shift_or_as_much_as_fits():
    log_p = torch.tensor([[0.5, 0.2]]).log()
    share, kl, log_z = within(log_p, torch.tensor([[0.0, 1.0]]), torch.tensor([9.0]))
    z = 0.5 + 0.2 * torch.e + 0.3
    assert share.tolist() == [1.0]
    assert log_z.item() == pytest.approx(math.log(z), abs=1e-6)
    assert kl.item() == pytest.approx(0.2 * torch.e / z - math.log(z), abs=1e-6)
    share, kl, _ = within(log_p, torch.tensor([[0.0, 5.0]]), torch.tensor([0.1]))
    assert 0 < share.item() < 1
    assert 0.05 < kl.item() <= 0.1


def test_replay_repeats_a_pushed_reply(bot):
    reply = answer(bot, {"joy": 0.7, "anger": 0.2})
    assert ids(bot.replay(reply.trace)) == ids(reply)
    assert replace(reply, timings={}).to_dict()["trace"]["steering"]["attributes"]["joy"]["push"]
