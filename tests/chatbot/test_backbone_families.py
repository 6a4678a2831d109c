"""Laws of every family of generators, on tiny random models: control is the same on all of them."""

import copy
import hashlib
from itertools import chain

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache, GenerationConfig

from benchmarks.random_models import FAMILIES, random_model
from chatbot import Chatbot, Controls, Sampling
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.scoring import reply_log_likelihoods

TURNS = ["Hello there!", "Hi.", "How are you today?"]
CONVERSATIONS = [
    TURNS,
    ["Do you like pizza?"],
    ["I am sad", "Why?", "I love music", "Me too", "Ok"],
]
SOME = Sampling(candidates=3, max_new_tokens=6)
MODES = ("hidden", "layers", "pplm")
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
GREEDY = Sampling(candidates=2, temperature=0, max_new_tokens=8)


@pytest.fixture(scope="module", params=list(FAMILIES))
def bot(request):
    model, tokenizer = random_model(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chatbot.reference._STEPS", 6)  # enough to bind words by
        one = Chatbot(Backbone(model, tokenizer, name=request.param, digest=request.param))
        one.steerer.bound("joy", "en")
    return one


@pytest.fixture(scope="module")
def backbone(bot):
    return bot.backbone


@pytest.fixture(scope="module")
def exact(backbone):
    """In float64: matrix products of other batch sizes round differently.

    But for Gemma 2, whose attention goes through float32, where the mask of float64 is infinite.
    """
    model = copy.deepcopy(backbone.model)
    if backbone.identity["name"] != "gemma2":
        model = model.double()
    return Backbone(model, backbone.tokenizer, **backbone.identity)


def prompts_of(backbone, conversations=CONVERSATIONS):
    return [backbone.prompt(turns).ids for turns in conversations]


def generated(backbone, prompt, **more):
    """What `generate` of transformers makes of a prompt, with the same pieces forbidden."""
    never, first = backbone.never(is_first=False), backbone.never(is_first=True)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=GREEDY.max_new_tokens, suppress_tokens=never.tolist(),
        begin_suppress_tokens=first.tolist(), eos_token_id=list(backbone._format.ends),
        pad_token_id=backbone.special.pad, bos_token_id=backbone.special.bos,
        decoder_start_token_id=backbone.special.bos, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    ids = torch.tensor([prompt])
    return backbone.model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=settings, **more
    )


def new_ids(backbone, prompt, out):
    is_seq2seq = backbone.model.config.is_encoder_decoder
    return out.sequences[0, 1 if is_seq2seq else len(prompt) :].tolist()


def weights_of(backbone):
    """SHA-256 of every weight and buffer."""
    known = hashlib.sha256()
    for _, tensor in sorted(backbone.model.state_dict().items()):
        known.update(tensor.numpy().tobytes())
    return known.hexdigest()


@torch.no_grad()
def begun(backbone, rows=4, steps=3):
    """The newest ids and the state of rows that have read some pieces, each others."""
    prompts = prompts_of(backbone, [TURNS, ["Do you like pizza?"]])
    state, ids = backbone.start(prompts, rows // 2), backbone.first(prompts, rows // 2)
    pieces = torch.randint(20, 90, (rows, steps), generator=torch.Generator().manual_seed(1))
    for step in range(steps):
        _, state = backbone.step(ids, state)
        ids = pieces[:, step]
    return ids, state


# -- strength 0 is the model itself


@pytest.mark.parametrize("mode", MODES)
def test_strength_0_gives_the_pieces_of_greedy_generate(bot, mode):
    controls = Controls({"joy": 0.0}, mode=mode)
    reply = bot.respond(TURNS, controls=controls, seed=1, sampling=GREEDY)
    prompt = reply.trace.prompt_ids
    theirs = new_ids(bot.backbone, prompt, generated(bot.backbone, prompt))
    for candidate in reply.candidates:
        assert list(candidate.token_ids) == theirs[: len(candidate.token_ids)]
        assert len(candidate.token_ids) == len(theirs) or candidate.finish == "end"


@torch.no_grad()
def test_logits_are_those_of_generate_to_the_last_bit(backbone):
    if backbone.identity["name"] == "gpt1":
        pytest.skip("transformers has no cache for GPT-1: it computes other products, see below")
    prompt = backbone.prompt(TURNS).ids
    more = {}
    if not backbone.model.config.is_encoder_decoder:  # the last piece is read apart, as here
        cache = DynamicCache(config=backbone.model.config)
        backbone.model(torch.tensor([prompt[:-1]]), past_key_values=cache, use_cache=True)
        more["past_key_values"] = cache
    out = generated(backbone, prompt, **more)
    state, ids = backbone.start([prompt], 1), backbone.first([prompt], 1)
    for theirs, drawn in zip(out.logits, new_ids(backbone, prompt, out), strict=True):
        hidden, state = backbone.step(ids, state)
        assert torch.equal(backbone.logits(hidden), theirs)
        ids = torch.tensor([drawn])


@torch.no_grad()
def test_a_reply_is_as_likely_as_the_model_says_without_a_cache(exact):
    prompts = prompts_of(exact)
    replies = [exact.reply("I am happy today"), exact.reply("ok"), exact.reply("the game")]
    scored = reply_log_likelihoods(exact, prompts, replies)
    for prompt, reply, log_probs in zip(prompts, replies, scored, strict=True):
        if exact.model.config.is_encoder_decoder:
            begin = exact.network.begin
            ids = torch.tensor([[*begin, *reply[:-1]]])
            out = exact.model(input_ids=torch.tensor([prompt]), decoder_input_ids=ids)
        else:
            out = exact.model(input_ids=torch.tensor([[*prompt, *reply[:-1]]]))
        expected = out.logits[0, -len(reply) :].log_softmax(-1)
        chosen = expected.gather(1, torch.tensor(reply)[:, None])[:, 0]
        assert_close(log_probs, chosen.float(), **CLOSE)


def test_drawn_log_probs_are_those_of_scoring(exact):
    prompts = prompts_of(exact)
    groups = draw(exact, prompts, sampling=SOME, seeds=[1, 2, 3])
    drawn = list(chain(*groups))
    scored = reply_log_likelihoods(
        exact, [prompt for prompt in prompts for _ in range(3)], [one.ids for one in drawn]
    )
    for one, log_probs in zip(drawn, scored, strict=True):
        assert one.log_probs == pytest.approx(log_probs.tolist(), abs=1e-5)


# -- rows stay apart


def test_a_conversation_alone_equals_the_one_in_a_batch(exact):
    prompts = prompts_of(exact)
    assert len({len(prompt) for prompt in prompts}) > 1
    together = draw(exact, prompts, sampling=SOME, seeds=[1, 2, 3])
    for prompt, seed, group in zip(prompts, [1, 2, 3], together, strict=True):
        (alone,) = draw(exact, [prompt], sampling=SOME, seeds=[seed])
        assert [one.ids for one in group] == [one.ids for one in alone]


@pytest.mark.parametrize("kept", [[1, 2], [0, 1, 3], [2, 3], [3]], ids=str)
@torch.no_grad()
def test_rows_that_leave_change_nothing(exact, kept):
    ids, state = begun(exact)  # two rows of each of two conversations
    expected, _ = exact.step(ids, state)
    rows = torch.tensor(kept)
    exact.keep_rows(state, rows)
    hidden, _ = exact.step(ids[rows], state)
    assert_close(hidden, expected[rows], **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_a_steered_conversation_alone_equals_the_one_in_a_batch(exact, bot, mode):
    one = Chatbot(exact)
    one.steerer = bot.steerer  # the words are bound already; the numbers are nearly the same
    asked = [Controls({"joy": 1.0}, mode=mode), Controls({"joy": -1.0}, mode=mode)]
    few = Sampling(candidates=2, max_new_tokens=3)
    together = one.respond_many(CONVERSATIONS[:2], controls=asked, seeds=[1, 2], sampling=few)
    for turns, controls, seed, reply in zip(CONVERSATIONS, asked, [1, 2], together, strict=False):
        alone = one.respond(turns, controls=controls, seed=seed, sampling=few)
        assert {c.row: c.token_ids for c in alone.candidates} == {
            c.row: c.token_ids for c in reply.candidates
        }


# -- steering


@pytest.mark.parametrize("mode", MODES)
def test_joy_brings_its_words_nearer_and_leaves_the_weights_alone(bot, mode):
    before = weights_of(bot.backbone)
    reply = bot.respond(TURNS, controls=Controls({"joy": 1.0}, mode=mode), seed=2, sampling=SOME)
    assert weights_of(bot.backbone) == before
    steered = [token for token in reply.trace.steering.tokens if token.kl > 1e-6]
    assert steered
    assert sum(token.after["joy"] - token.before["joy"] for token in steered) > 0


def test_every_word_of_joy_can_be_found(bot):
    bound = bot.steerer.bound("joy", "en")
    covered = {one.word: one for one in bound.bag.coverage()}
    assert set(covered) == set(bound.bag.words.weights)
    assert all(one.n_paths > 0 and one.pieces for one in covered.values())


def test_pieces_are_written_as_they_stand_in_a_sentence(backbone):
    texts = backbone.piece_texts()
    assert len(texts) == backbone.vocab_size
    for written in ("so happy day", "love this game"):
        told = "".join(texts[piece] for piece in backbone.pieces(written))
        assert told.strip().lower() == written
        assert told.strip().count(" ") == 2


def test_half_precision_steers_as_well(bot):
    own = bot.backbone
    model = copy.deepcopy(own.model).bfloat16()
    half = Chatbot(Backbone(model, own.tokenizer, **own.identity))
    half.steerer = bot.steerer
    few = Sampling(candidates=1, max_new_tokens=3)
    for mode in MODES:
        controls = Controls({"joy": 1.0}, mode=mode)
        reply = half.respond(TURNS, controls=controls, seed=2, sampling=few)
        assert any(token.kl > 0 for token in reply.trace.steering.tokens)
        assert not any("not finite" in note for note in reply.trace.notes)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gpu_steers_as_well(bot, dtype, tmp_path):
    bot.backbone.model.save_pretrained(tmp_path)
    bot.backbone.tokenizer.save_pretrained(tmp_path)
    other = Chatbot.load(tmp_path, device="cuda", dtype=dtype, guarded=False)
    assert other.backbone.model.dtype == getattr(torch, dtype)
    for mode in MODES:
        controls = Controls({"joy": 1.0}, mode=mode)
        reply = other.respond(TURNS, controls=controls, seed=2, sampling=SOME)
        assert any(token.kl > 0 for token in reply.trace.steering.tokens)


# -- the parts that the levers need


@torch.no_grad()
def test_soft_step_of_one_certain_piece_is_a_step(exact):
    ids, state = begun(exact)
    expected, _ = exact.step(ids, state)
    certain = torch.nn.functional.one_hot(ids, exact.vocab_size).to(expected.dtype)
    hidden, _ = exact.soft_step(certain, state)
    assert_close(hidden, expected, **CLOSE)


@torch.no_grad()
def test_the_last_blocks_go_on_as_the_model_does(backbone):
    ids, state = begun(backbone)
    hidden, after = backbone.step(ids, state)
    again, _ = backbone.step(ids, after)
    for n in (1, 2):
        read, resume = backbone.last_blocks(ids, state, n)
        for _ in range(2):  # nothing of the first time is remembered
            resumed, behind = resume(read)
            assert torch.equal(resumed, hidden)
            assert torch.equal(backbone.step(ids, behind)[0], again)


@torch.no_grad()
def test_a_step_leaves_the_state_before_it_alone(backbone):
    ids, state = begun(backbone)
    once, _ = backbone.step(ids, state)
    assert torch.equal(backbone.step(ids, state)[0], once)
    past = backbone.past(state)
    assert len(past) == len(backbone.network.parts.blocks)
    moved = backbone.with_past(state, [[2 * one for one in group] for group in past])
    assert not torch.allclose(backbone.step(ids, moved)[0], once)
    assert torch.equal(backbone.step(ids, state)[0], once)


def test_slope_at_the_states_is_that_of_autograd(exact):
    generator = torch.Generator().manual_seed(0)
    width = exact.output_embedding().shape[1]
    dtype = exact.model.dtype
    hidden = torch.randn(3, width, generator=generator, dtype=dtype, requires_grad=True)
    slope = torch.randn(3, exact.vocab_size, generator=generator)
    logits = exact.logits(hidden)
    (expected,) = torch.autograd.grad(logits, hidden, slope)
    assert_close(exact.slope(slope, logits.detach()), expected.float(), atol=1e-4, rtol=1e-4)


# -- limits, and what is on the disk


def test_a_reply_ends_where_the_positions_do(backbone):
    long = [["happy " * 300]]
    (prompt,) = prompts_of(backbone, long)
    assert len(prompt) <= backbone.max_context
    (group,) = draw(backbone, [prompt], sampling=Sampling(1, max_new_tokens=128), seeds=[1])
    n_positions = getattr(backbone.model.config, "max_position_embeddings", None)
    if not backbone.model.config.is_encoder_decoder:
        assert len(prompt) + len(group[0].ids) <= n_positions + 1
    assert backbone.prompt(long[0]).truncated_pieces > 0


def test_what_is_saved_is_loaded(backbone, tmp_path):
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    loaded = Backbone.load(tmp_path, device="cpu", dtype="float32")
    assert len(loaded.identity["digest"]) == 64
    assert loaded.prompt(TURNS) == backbone.prompt(TURNS)
    prompt = loaded.prompt(TURNS).ids
    both = [draw(one, [prompt], sampling=SOME, seeds=[3]) for one in (loaded, backbone)]
    assert both[0] == both[1]
