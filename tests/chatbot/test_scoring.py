"""Laws of scoring given replies, on random models of a few thousand weights."""

import math

import pytest
import torch

from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.prompt import SPECIAL_IDS
from chatbot.scoring import reply_log_likelihoods

VOCAB = 50
EOS = SPECIAL_IDS.eos
PROMPTS = [[3, 9, 8], [3], [3, 40, 4, 41, 42, 3, 7], [3, 9, 8]]
REPLIES = [[10, 11, EOS], [12, EOS], [30, 31, 32, 33, 34, EOS], [EOS]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = {"d_model": 16, "num_heads": 2, "decoder_layers": 2}
    return MeenaForConditionalGeneration(MeenaConfig(vocab_size=VOCAB, **shape)).eval()


def test_a_model_without_opinion_gives_every_piece_one_in_v(model):
    with torch.no_grad():
        flat = MeenaForConditionalGeneration(model.config).eval()
        flat.lm_head.weight.zero_()
    for log_probs, reply in zip(
        reply_log_likelihoods(flat, PROMPTS, REPLIES), REPLIES, strict=True
    ):
        assert log_probs.tolist() == pytest.approx([-math.log(VOCAB)] * len(reply), abs=1e-6)


@pytest.mark.parametrize("tokens_per_batch", [1, 20, 8192])
def test_a_batch_gives_what_single_calls_give(model, tokens_per_batch):
    together = reply_log_likelihoods(model, PROMPTS, REPLIES, tokens_per_batch=tokens_per_batch)
    for i, log_probs in enumerate(together):
        (alone,) = reply_log_likelihoods(model, [PROMPTS[i]], [REPLIES[i]])
        assert (log_probs.shape, log_probs.dtype) == ((len(REPLIES[i]),), torch.float32)
        torch.testing.assert_close(log_probs, alone, atol=1e-5, rtol=0)


def test_it_is_the_loss_of_training(model):
    prompt, reply = torch.tensor([PROMPTS[2]]), torch.tensor([REPLIES[2]])
    (log_probs,) = reply_log_likelihoods(model, prompt.tolist(), reply.tolist())
    loss = model(input_ids=prompt, labels=reply).loss
    assert -log_probs.mean().item() == pytest.approx(loss.item(), abs=1e-5)


def test_the_choices_for_a_place_share_one_probability_of_1(model):
    every = [[10, 11, piece] for piece in range(VOCAB)]
    scored = reply_log_likelihoods(model, [PROMPTS[0]] * VOCAB, every)
    assert sum(math.exp(log_probs[-1]) for log_probs in scored) == pytest.approx(1, abs=1e-5)


def test_an_empty_reply_has_nothing_to_score(model):
    first, empty = reply_log_likelihoods(model, PROMPTS[:2], [REPLIES[0], []])
    assert (first.shape, empty.shape) == ((3,), (0,))
    assert reply_log_likelihoods(model, [], []) == []
