"""Laws of drawing candidates, on a tiny model whose replies end at different lengths."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot import decoding
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.prompt import SPECIAL_IDS
from chatbot.sampling import choose
from chatbot.scoring import reply_log_likelihoods
from chatbot.types import Sampling

PROMPTS = [[3, 300, 301], [3, 400], [3, 310, 4, 311, 312, 313, 3, 314]]
SPECIAL = set(dataclasses.astuple(SPECIAL_IDS))
EOS = SPECIAL_IDS.eos
NEARLY_1 = 1 - 2**-24  # the largest number that `torch.rand` draws
SOME = Sampling(candidates=6, max_new_tokens=10)  # too short for some of the replies


@pytest.fixture(scope="module")
def backbone(tiny_bot):
    """The tiny bot's, in float64.

    In float32 the matrix products of another batch size round differently, and once in some
    thousand pieces that tips the choice between two neighbours.
    """
    own = tiny_bot.backbone
    return Backbone(copy.deepcopy(own.model).double(), own.tokenizer, **own.identity)


def pieces_of(drawn):
    """Per conversation the pieces of its candidates, and how each finished."""
    return [[(one.ids, one.finish) for one in group] for group in drawn]


def drawn_pieces(backbone, prompts=PROMPTS, seeds=(1, 2, 3), sampling=SOME):
    return pieces_of(draw(backbone, prompts, sampling=sampling, seeds=seeds))


# -- what is drawn


def test_candidates_finish_early_and_late(backbone):
    finishes = {finish for group in drawn_pieces(backbone) for _, finish in group}
    assert finishes == {"end", "length"}  # else the laws below would see half of the loop


def test_temperature_0_gives_the_pieces_of_greedy_generate(backbone):
    longest = max(map(len, PROMPTS))
    padded = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in PROMPTS])
    theirs = backbone.model.generate(
        padded,
        attention_mask=(padded != SPECIAL_IDS.pad).long(),
        do_sample=False,
        max_new_tokens=20,
        suppress_tokens=sorted(SPECIAL - {EOS}),
        begin_suppress_tokens=[EOS],
    )[:, 1:].tolist()
    ours = drawn_pieces(backbone, sampling=Sampling(candidates=2, temperature=0, max_new_tokens=20))
    for row, candidates in zip(theirs, ours, strict=True):
        end = row.index(EOS) + 1 if EOS in row else len(row)
        assert [ids for ids, _ in candidates] == [row[:end]] * 2


def test_the_same_seed_draws_the_same_pieces(backbone):
    torch.manual_seed(1)
    once = drawn_pieces(backbone)
    torch.manual_seed(2)  # the generator shared by the whole program does not matter
    assert drawn_pieces(backbone) == once


def test_another_seed_draws_other_pieces(backbone):
    groups = drawn_pieces(backbone, [PROMPTS[0]] * 8, range(8))
    assert len({str(group) for group in groups}) == 8


def test_candidates_differ(backbone):
    (group,) = drawn_pieces(backbone, PROMPTS[:1], [1])
    assert len({str(candidate) for candidate in group}) == len(group)


def test_no_special_piece_is_drawn_but_the_end_at_the_end(backbone):
    wild = Sampling(candidates=64, temperature=10, max_new_tokens=12)
    for group in drawn_pieces(backbone, sampling=wild):
        for ids, finish in group:
            assert SPECIAL.isdisjoint(ids[:-1])
            assert len(ids) > 1 or ids[0] not in SPECIAL
            assert (ids[-1] == EOS) == (finish == "end")
            assert len(ids) == 12 or finish == "end"


def test_log_probs_are_those_of_scoring(backbone):
    novel = Sampling(candidates=4, temperature=0.5, top_k=5, max_new_tokens=10)
    drawn = draw(backbone, PROMPTS, sampling=novel, seeds=[1, 2, 3])
    for prompt, group in zip(PROMPTS, drawn, strict=True):
        scored = reply_log_likelihoods(
            backbone.model, [prompt] * len(group), [one.ids for one in group]
        )
        for one, log_probs in zip(group, scored, strict=True):
            assert one.log_probs == pytest.approx(log_probs.tolist(), abs=1e-4)


# -- a conversation does not notice what is decoded beside it


@given(order=st.permutations(range(len(PROMPTS))), seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_a_conversation_alone_equals_the_one_in_a_batch(backbone, order, seed):
    prompts, seeds = [PROMPTS[i] for i in order], [seed + i for i in order]
    together = drawn_pieces(backbone, prompts, seeds)
    alone = [
        drawn_pieces(backbone, [prompt], [own])[0]
        for prompt, own in zip(prompts, seeds, strict=True)
    ]
    assert together == alone


@pytest.mark.parametrize("staying", [decoding.even_rows, int], ids=["even", "no more than drawn"])
@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=["one", "three"])
def test_rows_that_leave_the_batch_change_nothing(backbone, prompts, staying, monkeypatch):
    sampling, seeds = Sampling(candidates=8, max_new_tokens=16), [5, 6, 7][: len(prompts)]
    widths = []
    step = type(backbone).step

    def counted(self, ids, state):
        widths.append(len(ids))
        return step(self, ids, state)

    monkeypatch.setattr(type(backbone), "step", counted)
    monkeypatch.setattr(decoding, "even_rows", staying)
    dropping = drawn_pieces(backbone, prompts, seeds, sampling)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0]
    monkeypatch.setattr(decoding, "even_rows", lambda rows: 1000)  # nobody leaves
    assert drawn_pieces(backbone, prompts, seeds, sampling) == dropping


def test_conversations_lose_their_rows_one_by_one(backbone, monkeypatch):
    """Else no law here would see conversations that have unequal numbers of rows left."""
    left = []
    keep_rows = type(backbone).keep_rows

    def counted(self, state, rows):
        keep_rows(self, state, rows)
        left.append(state.cache.blocks[0].seats)

    monkeypatch.setattr(type(backbone), "keep_rows", counted)
    drawn_pieces(backbone, sampling=Sampling(candidates=8, max_new_tokens=16))
    assert any(seats is not None for seats in left)


@pytest.mark.parametrize("candidate", [0, 1, 5])
def test_a_candidate_does_not_notice_the_others(backbone, candidate):
    (many,) = drawn_pieces(backbone, PROMPTS[:1], [4], SOME)
    fewer = dataclasses.replace(SOME, candidates=candidate + 1)
    (few,) = drawn_pieces(backbone, PROMPTS[:1], [4], fewer)
    assert few == many[: candidate + 1]


def test_threads_with_different_seeds_draw_what_each_draws_alone(backbone):
    def one(seed):
        return drawn_pieces(backbone, [PROMPTS[seed % 3]], [seed])

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(one, range(12)))
    assert at_once == [one(seed) for seed in range(12)]


# -- progress and stopping


def test_progress_counts_up_to_the_end(backbone):
    told = []
    drawn = draw(backbone, PROMPTS, sampling=SOME, seeds=[1, 2, 3], on_progress=told.append)
    assert [one.tokens for one in told] == list(range(1, len(told) + 1))
    assert len(told) == max(len(one.ids) for group in drawn for one in group)
    assert {(one.max_tokens, one.candidates) for one in told} == {(10, 18)}
    finished = [one.finished for one in told]
    assert finished == sorted(finished)
    assert finished[-1] == 18


@pytest.mark.parametrize("after", [0, 1, 4])
def test_stop_ends_within_one_piece_and_says_so(backbone, after):
    stop = Event()
    if not after:
        stop.set()

    def press(progress):
        if progress.tokens == after:
            stop.set()

    whole = draw(backbone, PROMPTS, sampling=SOME, seeds=[1, 2, 3])
    drawn = draw(backbone, PROMPTS, sampling=SOME, seeds=[1, 2, 3], on_progress=press, stop=stop)
    n_steps = max(after, 1)
    for stopped, full in zip(chain(*drawn), chain(*whole), strict=True):
        assert stopped.ids == full.ids[:n_steps]
        assert stopped.finish == ("stopped" if len(full.ids) > n_steps else full.finish)


def test_a_callback_that_fails_is_heard(backbone):
    def broken(_):
        raise OSError("no terminal")

    with pytest.raises(OSError, match="no terminal"):
        draw(backbone, PROMPTS, sampling=SOME, seeds=[1, 2, 3], on_progress=broken)


# -- narrowing the choice


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 0.01}], ids=str)
def test_the_narrowest_choice_is_greedy(backbone, narrow):
    wide = {"candidates": 3, "max_new_tokens": 10}
    greedy = drawn_pieces(backbone, sampling=Sampling(**wide, temperature=0))
    assert drawn_pieces(backbone, sampling=Sampling(**wide, **narrow)) == greedy


@given(
    quarters=st.lists(st.integers(-32, 32), min_size=2, max_size=40),
    top_k=st.integers(1, 50),
    top_p=st.floats(0.01, 1),
    number=st.floats(0, NEARLY_1),
)
@settings(max_examples=60, deadline=None)
def test_only_the_likeliest_can_be_chosen(quarters, top_k, top_p, number):
    logits = torch.tensor(quarters) / 4
    sampling = Sampling(temperature=1, top_k=top_k, top_p=top_p)
    piece = int(choose(logits[None], torch.tensor([number]), sampling))
    likelier = logits > logits[piece]
    assert likelier.sum() < top_k
    probs = logits.softmax(0)
    least = probs.sort(descending=True).values[:top_k][-1]
    kept = probs[probs >= least]  # those that tie with the last are kept as well
    assert logits.softmax(0)[likelier].sum() <= top_p * kept.sum() + 1e-5


def test_pieces_come_as_often_as_they_are_probable():
    n = 200_000
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf"), 1.0, -6.0])
    numbers = torch.rand(n, generator=torch.Generator().manual_seed(0))
    for temperature in (0.5, 1.0, 3.0):
        expected = n * (logits / temperature).softmax(0)
        pieces = choose(logits.expand(n, -1), numbers, Sampling(temperature=temperature))
        seen = pieces.bincount(minlength=len(logits)).float()
        likely = expected > 0
        chi_square = ((seen - expected)[likely] ** 2 / expected[likely]).sum()
        assert chi_square < 20.5  # 5 degrees of freedom, p = 0.001
        assert not seen[~likely].any()


@given(
    logits=st.lists(st.sampled_from([-30.0, 0.0, 3.0, float("-inf")]), min_size=1, max_size=30),
    number=st.sampled_from([0.0, 1e-30, 0.25, 0.5, 0.75, NEARLY_1]),
    temperature=st.sampled_from([0.01, 0.88, 10]),
)
@settings(max_examples=60, deadline=None)
def test_an_impossible_piece_is_never_chosen(logits, number, temperature):
    logits = torch.tensor([*logits, 1.0, *logits])  # one at least is possible
    (piece,) = choose(logits[None], torch.tensor([number]), Sampling(temperature=temperature))
    assert logits[piece] > float("-inf")


@pytest.mark.parametrize("size", [2, 600, 8192, 50_000])
def test_the_largest_number_still_chooses_a_piece(size):
    logits = torch.randn(50, size, generator=torch.Generator().manual_seed(0))
    pieces = choose(logits, torch.full((50,), NEARLY_1), Sampling(temperature=1))
    assert pieces.max() < size
    assert choose(logits, torch.zeros(50), Sampling(temperature=1)).eq(0).all()


def test_a_row_is_chosen_by_its_own_number_alone():
    generator = torch.Generator().manual_seed(0)
    logits, numbers = torch.randn(9, 30, generator=generator), torch.rand(9, generator=generator)
    for sampling in (Sampling(), Sampling(top_k=4), Sampling(top_p=0.6)):
        together = choose(logits, numbers, sampling)
        alone = [choose(logits[i : i + 1], numbers[i : i + 1], sampling) for i in range(9)]
        assert torch.equal(together, torch.cat(alone))
