"""Rows that are added change no result, and leave few sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from chatbot.decoding import draw
from chatbot.even_rows import EvenLinear, even_rows, keep_sizes_few
from chatbot.types import Sampling


@given(st.integers(1, 20_000))
def test_less_than_a_quarter_is_added_beyond_the_least(rows):
    assert rows <= even_rows(rows) < max(rows + 4, rows * 5 / 4)
    assert even_rows(even_rows(rows)) == even_rows(rows)


def test_numbers_grow_with_the_rows_and_are_few():
    numbers = [even_rows(rows) for rows in range(1, 1025)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 28


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Linear(16, 32), nn.Sequential(nn.GELU(), nn.Linear(32, 8, bias=False))
    )
    return layers.to(torch.bfloat16).eval()


def even_copy(network):
    keep_sizes_few(network)
    assert [type(one) for one in network.modules()].count(EvenLinear) == 2
    return network


@pytest.mark.parametrize("shape", [(16,), (1, 16), (5, 16), (3, 7, 16), (0, 16), (2, 4, 16)])
def test_the_result_is_that_of_the_plain_layer(network, shape):
    rows = torch.randn(shape).to(torch.bfloat16)
    plain = network(rows)
    even = even_copy(network)(rows)
    assert even.shape == plain.shape
    torch.testing.assert_close(even, plain, rtol=0.02, atol=0.02)


def test_weights_and_their_names_stay(network):
    before = network.state_dict(keep_vars=True)
    after = even_copy(network).state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is tensor for name, tensor in before.items())


def test_gradients_are_those_of_the_plain_layer(network):
    rows = torch.randn(5, 16).to(torch.bfloat16).requires_grad_()
    (plain,) = torch.autograd.grad(network(rows).sum(), rows)
    (even,) = torch.autograd.grad(even_copy(network)(rows).sum(), rows)
    torch.testing.assert_close(even, plain, rtol=0.02, atol=0.02)


def test_the_layer_multiplies_even_rows_only(network, monkeypatch):
    seen = []
    monkeypatch.setattr(
        nn.Linear, "forward", lambda self, rows: seen.append(len(rows)) or rows @ self.weight.T
    )
    even_copy(network)
    for n in (1, 5, 67, 130):
        network(torch.zeros(n, 16, dtype=torch.bfloat16))
    assert seen == [4, 4, 8, 8, 80, 80, 160, 160]


def test_what_is_in_32_bits_stays_as_it_is():
    layer = nn.Sequential(nn.Linear(4, 4))
    keep_sizes_few(layer)
    assert type(layer[0]) is nn.Linear


def test_rows_leave_a_batch_at_even_numbers_only(tiny_bot, monkeypatch):
    backbone, seen = tiny_bot.backbone, []
    step = backbone.step

    def watched(ids, state):
        seen.append(len(ids))
        return step(ids, state)

    monkeypatch.setattr(backbone, "step", watched)
    prompts = [tiny_bot.backbone.prompt([text]).ids for text in ("Hello", "How are you?", "Yes")]
    drawn = draw(backbone, prompts, sampling=Sampling(candidates=7), seeds=[1, 2, 3])
    assert seen[0] == 21
    assert len(set(seen)) > 2
    assert all(even_rows(n) == n for n in seen[1:] if n != 21)
    assert seen == sorted(seen, reverse=True)
    assert all(one.finish in ("end", "length") for group in drawn for one in group)
