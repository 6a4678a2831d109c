"""Laws of steering, on a random model: nothing asked changes nothing, rows stay apart.

What the sentences say is not looked at: the weights are random.
"""

import hashlib
import json
import math
from pathlib import Path
from threading import Thread

import pytest
import torch

import chatbot.training
from chatbot import Chatbot, Controls, InputError, Sampling, Schedule, UnknownAttributeError
from chatbot.backbone import Backbone
from chatbot.budgets import SHARPENING
from chatbot.decoding import draw
from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.steering import start_steering
from chatbot.training.corpus import read_dialogues
from chatbot.training.tokenizer import train_tokenizer

FEW = Sampling(candidates=6, max_new_tokens=20)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A random model whose pieces hold a few whole words of the shipped lists."""
    sample = Path(chatbot.training.__file__).with_name("sample.jsonl")
    texts = [turn for dialogue in read_dialogues(sample) for turn in dialogue.turns]
    texts += ["I am happy and I love a game, so great", "축구 게임 행복해 좋아 너무"] * 40
    folder = tmp_path_factory.mktemp("steered")
    tokenizer = train_tokenizer(texts, vocab_size=700)
    torch.manual_seed(0)
    config = MeenaConfig(vocab_size=len(tokenizer), d_model=16, num_heads=2, decoder_layers=1)
    MeenaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bot(model_dir):
    return Chatbot(Backbone.load(model_dir, device="cpu", dtype="float32"))


def ids(reply):
    return [candidate.token_ids for candidate in sorted(reply.candidates, key=lambda c: c.row)]


def mean_words(bot, controls, seeds=range(6), text="hello there"):
    """Words of joy that all candidates of some replies have, on average, whatever was asked."""
    trie = bot.steerer.bound("joy", "en").bag.trie
    n = len(seeds)
    replies = bot.respond_many([text] * n, controls=[controls] * n, seeds=seeds, sampling=FEW)
    counts = [_realised(trie, pieces) for reply in replies for pieces in ids(reply)]
    return sum(counts) / len(counts)


def _realised(trie, pieces):
    from attribute_models.trie import Place

    place = Place()
    for piece in pieces:
        place = trie.advance(place, piece)
    return place.so_far


# -- nothing asked


@pytest.mark.parametrize("controls", [{}, {"joy": 0.0}, Controls({"joy": 0.0, "game": 0}), None])
def test_zero_strength_is_identity(bot, controls):
    plain = bot.respond("hello there", seed=7, sampling=FEW)
    zero = bot.respond("hello there", controls=controls, seed=7, sampling=FEW)
    assert ids(zero) == ids(plain)
    assert [c.log_likelihood for c in zero.candidates] == [
        c.log_likelihood for c in plain.candidates
    ]
    assert zero.trace.steering is None
    assert zero.candidates[0].fit is None


def test_nothing_asked_does_no_work(bot, monkeypatch):
    monkeypatch.setattr(bot.steerer, "bound", None)  # would fail if it were called
    bot.respond("hello there", controls={"joy": 0.0}, seed=7, sampling=FEW)


def test_steering_leaves_the_weights_alone(bot):
    def digest():
        state = bot.backbone.model.state_dict()
        return hashlib.sha256(b"".join(w.numpy().tobytes() for w in state.values())).hexdigest()

    before = digest()
    bot.respond("hello there", controls={"joy": 1.0, "anger": -1.0}, seed=1, sampling=FEW)
    assert digest() == before


def test_likelihoods_are_those_of_the_untouched_model(bot):
    from chatbot.scoring import reply_log_likelihoods

    reply = bot.respond("hello there", controls={"joy": 1.0}, seed=1, sampling=FEW)
    pieces = [candidate.token_ids for candidate in reply.candidates]
    clean = reply_log_likelihoods(
        bot.backbone.model, [reply.trace.prompt_ids] * len(pieces), pieces
    )
    for candidate, log_probs in zip(reply.candidates, clean, strict=True):
        assert candidate.log_likelihood == pytest.approx(float(log_probs.sum()), abs=1e-2)


# -- more is more


def test_more_strength_never_lowers_the_mean_words(bot):
    steps = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0)
    found = [mean_words(bot, Controls({"joy": strength}, spread=(1.0,))) for strength in steps]
    assert found == sorted(found)
    assert found[-1] > found[2] + 0.5


@pytest.mark.parametrize("text", ["hello there", "안녕 반가워"])
def test_words_come_in_both_languages(bot, text):
    language = "en" if text.isascii() else "ko"
    bound = bot.steerer.bound("joy", language)
    controls = Controls({"joy": 1.0}, spread=(1.0,), kl_limit=20)
    steered, plain = (
        bot.respond_many([text] * 4, controls=[asked] * 4, seeds=range(4), sampling=FEW)
        for asked in (controls, None)
    )
    said, said_plain = (
        sum(_realised(bound.bag.trie, row) for reply in replies for row in ids(reply))
        for replies in (steered, plain)
    )
    assert said > said_plain
    for reply in steered:
        assert reply.trace.steering.attributes["joy"].language == language


def test_strength_asks_every_attribute_for_the_same_number_of_words(bot):
    for name in ("joy", "anger", "game", "sports"):
        bound = bot.steerer.bound(name, "en")
        assert bound.wanted(1.0) == pytest.approx(max(bound.clean_words, bound.wanted(1.0)))
        halfway = (bound.clean_words + bound.wanted(1.0)) / 2
        assert bound.wanted(0.5) == pytest.approx(halfway)
        assert bound.wanted(0.0) == bound.clean_words


def test_the_gate_closes_when_the_budget_is_met(bot):
    controls = Controls({"joy": 0.3}, spread=(1.0,), kl_limit=50)
    for seed in range(4):
        reply = bot.respond("hello there", controls=controls, seed=seed, sampling=FEW)
        trace = reply.trace.steering
        joy, trie = trace.attributes["joy"], bot.steerer.bound("joy", "en").bag.trie
        for n, token in enumerate(trace.tokens):
            if _realised(trie, reply.candidates[0].token_ids[:n]) >= joy.wanted:
                assert not token.price


def test_candidates_have_strengths_of_their_own(bot):
    controls = Controls({"joy": 0.8}, spread=(0.0, 0.5, 1.0))
    reply = bot.respond("hello there", controls=controls, seed=3, sampling=FEW)
    plain = bot.respond("hello there", seed=3, sampling=FEW)
    by_row = sorted(reply.candidates, key=lambda c: c.row)
    assert [c.share for c in by_row] == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    assert [ids(reply)[row] for row in (0, 3)] == [ids(plain)[row] for row in (0, 3)]
    assert ids(reply)[2] != ids(plain)[2]


def test_the_ranking_prefers_what_shows_the_attribute(bot):
    from chatbot import Ranking

    best, plain = (
        bot.respond("hi", controls={"joy": 1.0}, seed=4, sampling=FEW, ranking=Ranking(fit=fit))
        for fit in (100.0, 0.0)
    )
    assert sorted(ids(best)) == sorted(ids(plain))
    kept = [c.fit for c in best.candidates if c.dropped is None]
    assert kept == sorted(kept, reverse=True)


# -- rows stay apart


def test_a_row_alone_is_the_row_in_a_batch(bot):
    turns = ["hello there", "how are you?", "안녕"]
    controls = [{"joy": 1.0}, None, {"game": 0.7}]
    together = bot.respond_many(turns, controls=controls, seeds=[1, 2, 3], sampling=FEW)
    for turn, asked, seed, reply in zip(turns, controls, [1, 2, 3], together, strict=True):
        alone = bot.respond(turn, controls=asked, seed=seed, sampling=FEW)
        assert ids(alone) == ids(reply)
        assert (alone.trace.steering is None) == (reply.trace.steering is None)
        assert alone.trace.notes == reply.trace.notes


def test_opposite_plans_in_one_batch_do_not_mix(bot):
    controls = [{"joy": 1.0}, {"joy": -1.0}]
    up, down = bot.respond_many(["hi"] * 2, controls=controls, seeds=[5, 5], sampling=FEW)
    for reply, asked in ((up, controls[0]), (down, controls[1])):
        assert ids(reply) == ids(bot.respond("hi", controls=asked, seed=5, sampling=FEW))
    assert ids(up) != ids(down)


def test_the_order_of_attributes_does_not_matter(bot):
    asked = {"joy": 0.8, "game": 0.6, "anger": 0.4}
    turned = dict(reversed(asked.items()))
    one, other = (bot.respond("hi", controls=c, seed=6, sampling=FEW) for c in (asked, turned))
    assert ids(one) == ids(other)


def test_threads_share_a_bot(bot):
    expected = [ids(bot.respond("hi", controls={"joy": 1.0}, seed=s, sampling=FEW)) for s in (1, 2)]
    found = {}

    def run(seed):
        found[seed] = ids(bot.respond("hi", controls={"joy": 1.0}, seed=seed, sampling=FEW))

    threads = [Thread(target=run, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[1], found[2]] == expected


# -- one step


@pytest.fixture
def started(bot):
    """A steering of `rows` candidates that is about to shift its first logits."""

    def start(controls, rows=4, temperature=1.0):
        return start_steering(
            bot.steerer, [Controls(spread=(1.0,), **controls)], [["hello there"]], candidates=rows,
            temperature=temperature,
        )  # fmt: skip

    return start


def test_a_row_with_one_attribute_does_not_see_a_row_with_several(bot):
    """Solving for several must not touch a row that needs none of it, not even by rounding."""
    asked = [Controls({"joy": 0.9}, spread=(1.0,)), Controls({"joy": 0.4, "game": 0.8})]
    logits = 3 * torch.randn(2, bot.backbone.vocab_size, generator=torch.Generator().manual_seed(3))

    def first(controls):
        steering = start_steering(
            bot.steerer, controls, [["hello there"]] * len(controls), candidates=1, temperature=1.0
        )
        rows = logits[: len(controls)].clone()
        steering.shift(rows, torch.zeros(len(rows), 1))
        return rows[0]

    assert torch.allclose(first(asked), first(asked[:1]), atol=1e-5)


@pytest.fixture
def logits(bot):
    generator = torch.Generator().manual_seed(8)
    return 2 * torch.randn(4, bot.backbone.vocab_size, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_masses_of_the_sampled_distribution_are_those_traced(bot, started, logits, temperature):
    steering = started({"strengths": {"joy": 0.6, "game": 0.4}, "kl_limit": 100}, 4, temperature)
    clean = logits.clone()
    steering.shift(logits, torch.zeros(len(logits), 1))
    after = (logits / temperature).softmax(-1)
    for row in range(4):
        heat = 1 - SHARPENING * min(1.0, 0.6 * steering.share(0, row))
        before = (clean / temperature / heat).softmax(-1)
        token = steering.trace(0, row).tokens[0]
        kl = float((after[row] * (after[row] / before[row]).log()).sum())
        assert token.kl == pytest.approx(kl, abs=1e-4)
        for name in ("joy", "game"):
            bag = bot.steerer.bound(name, "en").bag
            from attribute_models.trie import Place

            chance, weight = bag.features([Place()])
            mass = float((before[row, bag.support] * chance * weight).sum())
            assert token.before[name] == pytest.approx(mass, abs=1e-5)
            assert token.after[name] > token.before[name]


def test_each_of_several_attributes_gets_what_it_gets_alone(started, logits):
    asked = {"joy": 0.3, "game": 0.2, "sports": 0.2}
    together = started({"strengths": asked, "kl_limit": 100})
    together.shift(logits.clone(), torch.zeros(len(logits.clone()), 1))
    for name, strength in asked.items():
        alone = started({"strengths": {name: strength}, "kl_limit": 100})
        # What all of them miss makes the end unlikelier, which moves the others by a little.
        alone.shift(logits.clone(), torch.zeros(len(logits.clone()), 1))
        for row in range(4):
            wanted = alone.trace(0, row).tokens[0].after[name]
            assert together.trace(0, row).tokens[0].after[name] == pytest.approx(wanted, abs=1e-2)


def test_the_limit_of_the_divergence_holds(started, logits):
    steering = started({"strengths": {"joy": 1.0}, "kl_limit": 0.05})
    steering.shift(logits, torch.zeros(len(logits), 1))
    costs = [steering.trace(0, row).tokens[0].kl for row in range(4)]
    assert max(costs) <= 0.05 + 1e-5
    assert max(costs) > 0.04


def test_no_fusion_is_no_steering(started, logits):
    steering = started({"strengths": {"joy": 1.0}, "fusion": 0.0})
    before = logits.clone()
    steering.shift(logits, torch.zeros(len(logits), 1))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_left_alone_and_said(started, logits, bad):
    steering = started({"strengths": {"joy": 1.0}})
    logits[1, 300] = bad
    before = logits.clone()
    steering.shift(logits, torch.zeros(len(logits), 1))
    assert torch.equal(logits[1].nan_to_num(), before[1].nan_to_num())
    assert not torch.equal(logits[0], before[0])
    steering.read([300] * 4)
    assert any("not finite" in note for note in steering.notes(0, 1))
    assert not any("not finite" in note for note in steering.notes(0, 0))


def test_forbidden_pieces_stay_forbidden(started, logits):
    steering = started({"strengths": {"joy": 1.0}})
    logits[:, :6] = -math.inf
    steering.shift(logits, torch.zeros(len(logits), 1))
    assert (logits[:, :6] == -math.inf).all()
    assert logits[:, 6:].isfinite().all()


def test_what_cannot_be_had_together_is_said(started, bot):
    names = ["joy", "positive", "game", "sports", "food", "music"]
    steering = started({"strengths": dict.fromkeys(names, 1.0), "kl_limit": 100})
    flat = torch.full((4, bot.backbone.vocab_size), -20.0)
    for name in names:
        flat[:, bot.steerer.bound(name, "en").bag.support] = 0.0
    steering.shift(flat, torch.zeros(len(flat), 1))
    assert flat.isfinite().all()
    assert any(one.missed for one in steering.trace(0, 0).attributes.values())
    assert any("left it no room" in note for note in steering.notes(0, 0))


# -- what the caller sees


def test_an_unknown_attribute_lists_the_known_ones(bot):
    with pytest.raises(UnknownAttributeError, match=r"'jo'.*anger.*joy"):
        bot.respond("hi", controls={"jo": 0.5})
    with pytest.raises(InputError):
        bot.respond("hi", controls={"joy": 5})
    with pytest.raises(InputError, match="one for each"):
        bot.respond_many(["hi", "hello"], controls=[{"joy": 0.5}])


def test_a_list_of_ones_own_steers_at_once(bot, tmp_path):
    file = tmp_path / "warmth.txt"
    file.write_text("happy\nlove\nsunny\t0.5\n")
    assert bot.add_attribute(file) == "warmth"
    assert "warmth" in bot.attributes()
    controls = Controls({"warmth": 1.0}, kl_limit=50)
    reply = bot.respond("hello", controls=controls, seed=2, sampling=FEW)
    assert reply.trace.steering.attributes["warmth"].realised > 0
    korean = bot.respond("안녕", controls={"warmth": 1.0}, seed=2, sampling=FEW)
    assert korean.trace.steering is None
    assert any("warmth has no words" in note for note in korean.trace.notes)
    file.write_text("happy\tmuch\n")
    with pytest.raises(InputError, match="line 1"):
        bot.add_attribute(file)


def test_the_trace_says_what_was_done(bot):
    controls = Controls({"joy": 0.8, "game": -0.5}, kl_limit=3.0)
    reply = bot.respond("hello there", controls=controls, seed=9, sampling=FEW)
    chosen, trace = reply.candidates[0], reply.trace.steering
    assert len(trace.tokens) == len(chosen.token_ids)
    assert trace.share == chosen.share
    joy = trace.attributes["joy"]
    assert joy.strength == 0.8
    assert len(joy.digest) == 64
    assert joy.realised == pytest.approx(
        _realised(bot.steerer.bound("joy", "en").bag.trie, chosen.token_ids)
    )
    for token in trace.tokens:
        assert token.after["game"] <= token.before["game"] + 1e-6
        assert 0 <= token.kl + 1e-6 <= 3.0 + 1e-4
    assert json.loads(json.dumps(reply.to_dict()))["trace"]["controls"]["kl_limit"] == 3.0


def test_a_control_without_effect_is_said(bot):
    reply = bot.respond("hi", controls={"anger": 0.01}, seed=1, sampling=Sampling(1, 0.0))
    assert reply.trace.steering.attributes["anger"].words == ()
    assert any("anger had no effect" in note for note in reply.trace.notes)


@pytest.mark.parametrize(
    "controls",
    [
        Controls({"joy": 0.7, "anger": -0.3}, spread=(0.5, 2.0), kl_limit=1.0, fusion=0.8),
        Controls(schedule=Schedule.ramp("joy", 0.2, 1.0, turns=3)),
    ],
)
def test_a_steered_reply_can_be_drawn_again(bot, controls):
    reply = bot.respond(["a", "b", "hello"], controls=controls, seed=11, sampling=FEW)
    again = bot.replay(reply.trace)
    assert again.text == reply.text
    assert ids(again) == ids(reply)
    assert again.trace == reply.trace


def test_a_conversation_follows_its_schedule(bot):
    chat = bot.conversation(
        controls=Controls(schedule=Schedule.ramp("anger", 0.0, 1.0, turns=3)), sampling=FEW
    )
    replies = [chat.say("you again?", seed=n) for n in range(4)]
    assert replies[0].trace.steering is None
    asked = [reply.trace.steering.attributes["anger"].strength for reply in replies[1:]]
    assert asked == [0.5, 1.0, 1.0]


def test_a_stopped_reply_has_its_trace(bot):
    from threading import Event

    stop = Event()
    stop.set()
    reply = bot.respond("hi", controls={"joy": 1.0}, seed=1, sampling=FEW, stop=stop)
    assert reply.stopped
    assert len(reply.trace.steering.tokens) == 1


def test_greedy_decoding_is_steered(bot):
    greedy = Sampling(candidates=2, temperature=0, max_new_tokens=16)
    controls = Controls({"joy": 1.0}, spread=(1.0,), kl_limit=50)
    reply = bot.respond("hi", controls=controls, seed=1, sampling=greedy)
    assert reply.trace.steering.attributes["joy"].realised > 0


def test_drawing_without_steering_takes_the_plain_path(bot):
    prompts = [bot.backbone.pieces("hello")]
    plain = draw(bot.backbone, prompts, sampling=FEW, seeds=[1])
    assert [one.ids for one in plain[0]] == [
        one.ids for one in draw(bot.backbone, prompts, sampling=FEW, seeds=[1], steering=None)[0]
    ]
