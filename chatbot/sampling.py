"""Draws one piece for each row from its logits and a random number of its own.

Shapes: `B` rows, `V` pieces.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from chatbot.types import Sampling


def choose(logits: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
    """One piece per row by inverting the cumulative distribution.

    Args:
        logits: (B, V) float32.
        numbers: (B,) uniform in [0, 1): a row's piece depends on nothing else.

    Returns:
        (B,) ids.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs = (logits / sampling.temperature).softmax(-1)
    if 0 < sampling.top_k < probs.shape[1]:
        least = probs.topk(sampling.top_k).values[:, -1:]
        probs = probs.masked_fill(probs < least, 0)
    if sampling.top_p < 1:
        ordered, index = probs.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(-1, True), 0)
        probs = torch.zeros_like(probs).scatter(1, index, ordered)
    cumulative = probs.cumsum(-1)
    # Below the last sum even after rounding, as a number is at most 1 - 2^-24.
    target = numbers[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def uniform_numbers(seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """(G * N, steps) random numbers in [0, 1), drawn on the CPU so that devices agree."""
    shape = (sampling.candidates, sampling.max_new_tokens)
    return torch.cat(
        [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
