"""Where a step of the decoder can be moved: its remembered past, or what its last blocks read.

A lever is one step of decoding that can be run again and again with moved values, and that
gradients go through. Another generator needs two of its own and nothing else; why and how far
values are moved is not known here.

Shapes: `B` rows, `H` hidden size, `V` pieces, `M` numbers of one row that can be moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from chatbot.backbone import Backbone, DecodingState
from chatbot.controls import GradientSettings
from chatbot.meena import MeenaCache
from chatbot.meena.cache import BlockState


class Lever(Protocol):
    """One step of the decoder with `M` numbers a row that can be moved.

    Attributes:
        groups: how many numbers, one after another, belong together; their sum is M.
        share: (M,) of its move that each number makes: less for older positions.
        unit: (B, 1), what a step of length 1 is long.
    """

    groups: Sequence[int]
    share: Tensor
    unit: Tensor

    def run(self, moves: Tensor | None) -> tuple[Tensor, DecodingState]:
        """Final hidden states (B, H) after `moves` (B, M), and the state behind them.

        None moves nothing; a move of zeros gives the same numbers.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """The newest positions of one tensor of the state, and how many numbers of a row they have."""

    value: Tensor  # (B, ..., t, e)
    n_positions: int

    @property
    def size(self) -> int:
        return self.n_positions * self.value[0].numel() // max(1, self.value.shape[-2])

    def share(self, decay: float) -> Tensor:
        """(size,): 1 for the newest position, `decay` to the power of the age for older ones."""
        newest = self.value[0][..., self.value.shape[-2] - self.n_positions :, :]
        age = torch.arange(self.n_positions - 1, -1, -1, device=newest.device)
        scale = (decay**age)[:, None].expand(newest.shape)
        return scale.flatten()

    def moved(self, move: Tensor) -> Tensor:
        """The tensor after a move (B, size) of its newest positions."""
        n_old = self.value.shape[-2] - self.n_positions
        newest = self.value[..., n_old:, :]
        newest = newest + move.view(newest.shape).to(newest.dtype)
        return torch.cat([self.value[..., :n_old, :], newest], dim=-2) if n_old else newest


class PastLever:
    """Moves all that the decoder remembers of the reply, as PPLM does (Dathathri et al. 2020).

    That is the keys and values of both self-attentions of every block, and both windows of its
    convolutions, which would else leak the unmoved past. Before the first piece the attentions
    remember nothing and the windows hold zeros: these zeros are moved, so that the first piece is
    steered as well.

    Keys and values of an attention are one group, as are those of a layer in the published code;
    each window is another.
    """

    def __init__(
        self, backbone: Backbone, ids: Tensor, state: DecodingState, settings: GradientSettings
    ):
        self._backbone, self._ids, self._state = backbone, ids, state
        window = settings.window
        self._parts = [
            [_Part(one, min(window or one.shape[-2], one.shape[-2])) for one in group]
            for block in state.cache
            for group in (block.wide_kv, block.kv, (block.window_in,), (block.window_mid,))
        ]
        self.groups: Sequence[int] = [sum(part.size for part in group) for group in self._parts]
        self._sizes = [part.size for group in self._parts for part in group]
        self.share = torch.cat(
            [part.share(settings.decay) for group in self._parts for part in group]
        )
        self.unit = self.share.new_ones(len(ids), 1)  # as published

    def run(self, moves: Tensor | None) -> tuple[Tensor, DecodingState]:
        if moves is None:
            return self._backbone.step(self._ids, self._state)
        move = iter(moves.split(self._sizes, dim=1))
        moved = [[part.moved(next(move)) for part in group] for group in self._parts]
        blocks = []
        for number, block in enumerate(self._state.cache):
            wide, kv, (window_in,), (window_mid,) = moved[4 * number : 4 * number + 4]
            blocks.append(
                BlockState(
                    (wide[0], wide[1]), (kv[0], kv[1]), window_in, window_mid,
                    block.wide_cross, block.cross,
                )
            )  # fmt: skip
        state = DecodingState(MeenaCache(blocks), self._state.memory_mask)
        return self._backbone.step(self._ids, state)


class BlocksLever:
    """Moves what the last blocks read at the newest position; the blocks below run only once.

    A step is told as a share of the length of what is read, which grows with depth and width.
    """

    def __init__(
        self, backbone: Backbone, ids: Tensor, state: DecodingState, settings: GradientSettings
    ):
        self._model, self._state = backbone.model.model, state
        n_blocks = len(state.cache.blocks)
        self._first = max(0, n_blocks - settings.blocks)
        with torch.no_grad():
            x = self._model.embed(ids[:, None], state.cache.get_seq_length())
            below = range(self._first)
            outputs, self._below = self._model.run_blocks(
                x, state.cache, state.memory_mask, blocks=below
            )
        self._x = outputs[-1] if outputs else x  # (B, 1, H)
        self._above = range(self._first, n_blocks)
        self.groups: Sequence[int] = [self._x.shape[-1]]
        self.share = self._x.new_ones(self._x.shape[-1], dtype=torch.float32)
        self.unit = self._x[:, -1].float().norm(dim=1, keepdim=True)

    def run(self, moves: Tensor | None) -> tuple[Tensor, DecodingState]:
        x = self._x if moves is None else self._x + moves[:, None].to(self._x.dtype)
        outputs, states = self._model.run_blocks(
            x, self._state.cache, self._state.memory_mask, blocks=self._above
        )
        cache = MeenaCache([*self._below, *states])
        return self._model.decoder_norm(outputs[-1])[:, -1], DecodingState(
            cache, self._state.memory_mask
        )
