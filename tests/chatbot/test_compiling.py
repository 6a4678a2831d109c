"""Compiled steps give what the others give, and whatever is not compiled runs as before."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks.random_models import Size, random_model
from chatbot import Chatbot, Controls, ModelError, Sampling
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.even_rows import EvenLinear

GREEDY = Sampling(candidates=6, temperature=0, max_new_tokens=8)
CONVERSATIONS = [["Hello there!", "Hi.", "How are you today?"], ["Do you like pizza?"]]


def made(name, folder):
    if name == "meena":
        return Backbone.load(folder, device="cpu", dtype="float32")
    model, tokenizer = random_model(name, Size(width=32, heads=4, blocks=2, rows=512, positions=99))
    return Backbone(model, tokenizer, name=name, digest=name)


def pieces(backbone, conversations):
    """Of every candidate, drawn greedily; all conversations in one batch."""
    prompts = [backbone.prompt(turns).ids for turns in conversations]
    drawn = draw(backbone, prompts, sampling=GREEDY, seeds=range(len(prompts)))
    return [[one.ids for one in candidates] for candidates in drawn]


# -- without a compiler


def test_what_is_compiled_are_the_layers_that_are_used(tiny_model_dir, monkeypatch):
    found = []

    def look(backbone):
        found.append(any(isinstance(one, EvenLinear) for one in backbone.model.modules()))

    monkeypatch.setattr("chatbot.compiling.compile_steps", look)
    asked = {"device": "cpu", "dtype": "bfloat16"}
    Chatbot.load(tiny_model_dir, **asked, guarded=False, compile=True)
    Backbone.load(tiny_model_dir, **asked, compile=True)
    assert found == [True, True]
    Backbone.load(tiny_model_dir, **asked)
    assert len(found) == 2


def test_where_torch_cannot_compile_the_model_is_refused(tiny_model_dir, monkeypatch):
    class Wrapped(RuntimeError):
        inner_exception = RuntimeError("No working C++ compiler found in (None, 'g++')\nmore\n")

    def compiler(forward, **_):
        def run(*args, **kwargs):
            raise Wrapped("backend='inductor' raised:")

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    backbone = made("meena", tiny_model_dir)
    before = pieces(backbone, CONVERSATIONS)
    told = r"No working C\+\+ compiler found .*install g\+\+.*leave out compile"
    with pytest.raises(ModelError, match=told) as raised:
        backbone.compile()
    assert len(str(raised.value).splitlines()) == 1
    assert pieces(backbone, CONVERSATIONS) == before
    assert all("forward" not in vars(block) for block in backbone.network.blocks)


# -- with one


SLOW = [pytest.param((name, "inductor"), marks=pytest.mark.slow) for name in ("meena", "llama")]
"""A minute of C++ each; the first stage alone, which takes the code apart, is quick."""


@pytest.fixture(
    scope="module", params=[("meena", "eager"), ("llama", "eager"), *SLOW], ids="-".join
)
def pair(request, tiny_model_dir):
    """A model as it is, and compiled."""
    name, backend = request.param
    plain, compiler = made(name, tiny_model_dir), torch.compile
    compiled = Backbone(copy.deepcopy(plain.model), plain.tokenizer, **plain.identity)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch warns of its own
        patch.setattr(torch, "compile", partial(compiler, backend=backend))
        compiled.compile()
    yield plain, compiled
    torch._dynamo.reset()


def test_compiled_steps_are_taken_and_give_the_same_pieces(pair):
    plain, compiled = pair
    expected = pieces(plain, CONVERSATIONS[:1])
    with torch.profiler.profile() as seen:
        assert pieces(compiled, CONVERSATIONS[:1]) == expected
    assert any("Compiled Region" in event.key for event in seen.key_averages())


def test_nothing_is_compiled_later(pair):
    _, compiled = pair
    before = dict(counters["stats"])
    pieces(compiled, CONVERSATIONS)
    prompts = [compiled.prompt(turns).ids for turns in CONVERSATIONS]
    compiled.reply_states(prompts, [[7, 8, 9], [7, 8]])
    assert dict(counters["stats"]) == before


def test_a_conversation_alone_equals_the_one_in_a_batch(pair):
    plain, compiled = pair
    alone = [pieces(compiled, [turns])[0] for turns in CONVERSATIONS]
    assert pieces(compiled, CONVERSATIONS) == alone == pieces(plain, CONVERSATIONS)


def test_all_modes_steer_as_without_and_leave_the_weights_alone(pair, monkeypatch):
    monkeypatch.setattr("chatbot.reference._STEPS", 6)  # enough to bind words by
    plain, compiled = map(Chatbot, pair)
    before = {name: one.clone() for name, one in pair[1].model.state_dict().items()}
    assert before.keys() == pair[0].model.state_dict().keys()
    few = Sampling(candidates=2, max_new_tokens=5)
    for mode in ("hidden", "layers", "pplm"):
        controls = Controls({"joy": 1.0}, mode=mode)
        told, expected = (
            bot.respond("Hello!", controls=controls, seed=3, sampling=few)
            for bot in (compiled, plain)
        )
        drawn = [[one.token_ids for one in reply.candidates] for reply in (told, expected)]
        assert drawn[0] == drawn[1]
        steered = [token for token in told.trace.steering.tokens if token.kl > 1e-6]
        assert sum(token.after["joy"] - token.before["joy"] for token in steered) > 0
    after = pair[1].model.state_dict()
    assert all(torch.equal(after[name], one) for name, one in before.items())
