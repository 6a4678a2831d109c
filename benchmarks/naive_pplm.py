"""PPLM as its published code does it, on our generator: the rival that steering is timed against.

Dathathri et al. 2020 with the loop of their code: one candidate after another; for every piece a
clean pass over the whole reply so far without a cache; then `iterations` passes forward and back
through the moved past; then one more, whose past, moves and all, is carried on. Weights are frozen,
as there; nothing is slowed down on purpose: the trips of every gradient to the memory of the
processor and back are left out, and the window holds the newest positions. The encoder runs once
for each candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chatbot.backbone import Backbone, DecodingState
from chatbot.meena import MeenaCache
from chatbot.meena.cache import BlockState


@dataclass(frozen=True, slots=True)
class Published:
    """Settings, by default those of the paper for bags of words."""

    step_size: float = 0.02
    iterations: int = 3
    gamma: float = 1.5
    gm_scale: float = 0.9
    kl_scale: float = 0.01
    window: int = 5
    temperature: float = 1.0


def reply(
    backbone: Backbone,
    prompt: Sequence[int],
    bag: Tensor,
    *,
    pieces: int,
    generator: torch.Generator,
    settings: Published,
) -> list[int]:
    """One candidate of so many pieces, steered towards the pieces of `bag` (n,)."""
    model, device = backbone.model.model, backbone.device
    with torch.no_grad():
        encoded = backbone.start([prompt], 1)
    ids, state = [backbone.special.bos], encoded
    for _ in range(pieces):
        with torch.no_grad():
            everything = torch.tensor([ids], device=device)
            hidden, _, _ = model.decode(everything, encoded.cache, encoded.memory_mask)
            clean = backbone.logits(hidden[:, -1]).log_softmax(-1)  # (1, V)
        newest = torch.tensor(ids[-1:], device=device)
        moved = _moved(backbone, newest, state, clean, bag, settings)
        with torch.no_grad():
            hidden, state = backbone.step(newest, moved)
            steered = (backbone.logits(hidden) / settings.temperature).log_softmax(-1)
            fused = torch.lerp(clean, steered, settings.gm_scale).softmax(-1)
            ids.append(int(torch.multinomial(fused[0].cpu(), 1, generator=generator)))
    return ids[1:]


def _moved(
    backbone: Backbone,
    newest: Tensor,
    state: DecodingState,
    clean: Tensor,
    bag: Tensor,
    settings: Published,
) -> DecodingState:
    """The state after some steps down the gradient of the loss."""
    past = [_tensors(block) for block in state.cache]
    moves = [[torch.zeros_like(one) for one in block] for block in past]
    largest = [torch.zeros((), device=newest.device) for _ in past]
    for _ in range(settings.iterations):
        leaves = [[move.requires_grad_() for move in block] for block in moves]
        hidden, _ = backbone.step(newest, _state(state, past, leaves))
        steered = backbone.logits(hidden).log_softmax(-1)
        loss = -steered[:, bag].logsumexp(1)
        loss = loss + settings.kl_scale * (steered.exp() * (steered - clean)).sum(1)
        flat = [one for block in leaves for one in block]
        gradients = iter(torch.autograd.grad(loss.sum(), flat, allow_unused=True))
        for number, block in enumerate(moves):
            slopes = [_windowed(next(gradients), one, settings.window) for one in block]
            norm = torch.stack([slope.float().norm() for slope in slopes]).norm() + 1e-15
            largest[number] = torch.maximum(largest[number], norm)
            scale = settings.step_size / largest[number] ** settings.gamma
            moves[number] = [
                (one.detach() - scale * slope).to(one.dtype)
                for one, slope in zip(block, slopes, strict=True)
            ]
    with torch.no_grad():
        return _state(state, past, moves)


def _windowed(slope: Tensor | None, like: Tensor, window: int) -> Tensor:
    """The gradient at the newest positions, zero at all others."""
    if slope is None:  # of a past that holds nothing yet
        return torch.zeros_like(like)
    age = torch.arange(like.shape[-2] - 1, -1, -1, device=like.device)
    return slope * (age < window)[:, None]


def _tensors(block: BlockState) -> list[Tensor]:
    return [*block.wide_kv, *block.kv, block.window_in, block.window_mid]


def _state(
    state: DecodingState, past: list[list[Tensor]], moves: list[list[Tensor]]
) -> DecodingState:
    blocks = []
    for block, values, move in zip(state.cache, past, moves, strict=True):
        parts = [value + one for value, one in zip(values, move, strict=True)]
        wide, kv, (window_in, window_mid) = parts[:2], parts[2:4], parts[4:]
        blocks.append(
            BlockState(
                (wide[0], wide[1]), (kv[0], kv[1]), window_in, window_mid,
                block.wide_cross, block.cross,
            )
        )  # fmt: skip
    return DecodingState(MeenaCache(blocks), state.memory_mask)
