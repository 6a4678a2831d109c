"""Laws of weights in int8: rows stay apart to the last bit, and everything that steers goes on."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from benchmarks.random_models import random_model
from chatbot import Chatbot, Controls, ModelError, Sampling
from chatbot.backbone import Backbone
from chatbot.backbones import int8
from chatbot.backbones.int8 import Int8Linear, multiplies_exactly, to_int8
from chatbot.decoding import draw

pytestmark = pytest.mark.skipif(not multiplies_exactly(), reason="no exact int8 products here")

MODES = ("hidden", "layers", "pplm")
FEW = Sampling(candidates=2, max_new_tokens=3)
CONVERSATIONS = [["Hello there!", "Hi.", "How are you today?"], ["Do you like pizza?"]]


def layer_of(n_in=48, n_out=40, *, dtype=torch.float32, kind="linear"):
    torch.manual_seed(0)
    layer = nn.Linear(n_in, n_out) if kind == "linear" else Conv1D(n_out, n_in)
    nn.init.normal_(layer.bias)
    return layer.to(dtype)


def unrounded(layer):
    """The linear layer that an int8 one stands for."""
    twin = nn.Linear(*reversed(layer.weight.shape))
    twin.weight.data = layer.weight.float() * layer.scale[:, None]
    twin.bias.data = layer.bias.float()
    return twin


# -- one layer


@given(
    rows=st.integers(1, 33), n_in=st.integers(2, 80), n_out=st.integers(1, 40),
    seed=st.integers(0, 99), dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_row_alone_is_the_row_of_a_batch_to_the_last_bit(rows, n_in, n_out, seed, dtype):
    layer = Int8Linear(layer_of(n_in, n_out, dtype=dtype))
    x = torch.randn(rows, n_in, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x[0] *= 1000  # a row that would coarsen the others if they had one scale
    together = layer(x)
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))
    assert torch.equal(together, layer(x[None])[0])


@pytest.mark.parametrize("kind", ["linear", "Conv1D"])
def test_a_layer_gives_what_it_was_made_of(kind):
    layer = layer_of(kind=kind)
    x = torch.randn(20, 48)
    expected = layer(x)
    error = (Int8Linear(layer)(x) - expected).norm() / expected.norm()
    assert 0 < error < 0.02
    assert Int8Linear(layer)(torch.zeros(2, 48)).equal(layer.bias.expand(2, -1))


def test_the_gradient_is_that_of_the_rounded_weights():
    layer = Int8Linear(layer_of())
    x, slope = torch.randn(5, 48, requires_grad=True), torch.randn(5, 40)
    (ours,) = torch.autograd.grad(layer(x), x, slope)
    (expected,) = torch.autograd.grad(unrounded(layer)(x), x, slope)
    assert_close(ours, expected)


# -- a model


@pytest.fixture(scope="module", params=["meena", "bart", "t5", "gpt1", "gpt2", "llama", "gemma2"])
def backbone(request, tiny_bot):
    if request.param == "meena":
        model, tokenizer = copy.deepcopy(tiny_bot.backbone.model), tiny_bot.backbone.tokenizer
    else:
        model, tokenizer = random_model(request.param)
    to_int8(model)
    return Backbone(model, tokenizer, name=request.param, digest=request.param)


def test_every_linear_layer_but_the_last_is_in_int8(backbone):
    left = [one for one in backbone.model.modules() if type(one) in (nn.Linear, Conv1D)]
    assert left == [backbone.model.get_output_embeddings()]
    kinds = {one.dtype for one in backbone.model.parameters()}
    assert kinds == {torch.int8, torch.float32}


def test_a_conversation_alone_equals_the_one_in_a_batch(backbone):
    if backbone.identity["name"] != "gemma2":  # as in test_backbone_families
        backbone = Backbone(
            copy.deepcopy(backbone.model).double(), backbone.tokenizer, **backbone.identity
        )
    prompts = [backbone.prompt(turns).ids for turns in CONVERSATIONS]
    together = draw(backbone, prompts, sampling=FEW, seeds=[1, 2])
    for prompt, seed, group in zip(prompts, [1, 2], together, strict=True):
        (alone,) = draw(backbone, [prompt], sampling=FEW, seeds=[seed])
        assert [one.ids for one in group] == [one.ids for one in alone]


def test_all_modes_steer_and_leave_the_weights_alone(backbone, monkeypatch):
    monkeypatch.setattr("chatbot.reference._STEPS", 6)  # enough to bind words by
    bot = Chatbot(backbone)
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    for mode in MODES:
        controls = Controls({"joy": 1.0}, mode=mode)
        reply = bot.respond(CONVERSATIONS[0], controls=controls, seed=2, sampling=FEW)
        steered = [token for token in reply.trace.steering.tokens if token.kl > 1e-6]
        assert sum(token.after["joy"] - token.before["joy"] for token in steered) > 0
    after = backbone.model.state_dict()
    assert all(torch.equal(after[name], one) for name, one in before.items())


# -- loading


def test_a_folder_is_loaded_in_int8_and_stays_as_it_is(tiny_model_dir):
    full = Backbone.load(tiny_model_dir, device="cpu", dtype="auto")
    before = {file: file.read_bytes() for file in tiny_model_dir.iterdir()}
    bot = Chatbot.load(tiny_model_dir, device="cpu", dtype="int8", guarded=False)
    assert bot.backbone.identity == full.identity  # what was trained for the weights fits
    assert bot.backbone.model.dtype == full.model.dtype
    assert bot.backbone.output_embedding().dtype == full.model.dtype
    n_int8 = sum(one.numel() for one in bot.backbone.model.parameters() if one.dtype == torch.int8)
    saved = full.model.get_memory_footprint() - bot.backbone.model.get_memory_footprint()
    assert saved > 0.8 * n_int8 * (full.model.dtype.itemsize - 1)
    assert {file: file.read_bytes() for file in tiny_model_dir.iterdir()} == before
    one, other = (bot.respond("Hello!", seed=3, sampling=FEW) for _ in range(2))
    assert one.text == other.text


def test_what_cannot_multiply_int8_is_told_what_can(tiny_model_dir, monkeypatch):
    monkeypatch.setattr(int8, "multiplies_exactly", lambda: False)
    with pytest.raises(ModelError, match=r"VNNI .* give bfloat16 or float32"):
        Backbone.load(tiny_model_dir, device="cpu", dtype="int8")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ModelError, match="int8 is for CPUs"):
        Backbone.load(tiny_model_dir, device="cuda", dtype="int8")
