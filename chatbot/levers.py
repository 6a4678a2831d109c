"""Where a step of the decoder can be moved: its remembered past, or what its last blocks read.

A lever is one step of decoding that can be run again and again with moved values, and that
gradients go through. Why and how far values are moved is not known here.

Shapes: `B` rows, `H` hidden size, `V` pieces, `M` numbers of one row that can be moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from chatbot.backbone import Backbone, DecodingState
from chatbot.controls import GradientSettings


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
    """Moves all that the decoder remembers of the pieces before, as PPLM does.

    That is, in the order of Dathathri et al. (2020), the keys and values of every layer: of the
    reply where an encoder reads the prompt, of prompt and reply where there is none. Keys and
    values of an attention are one group, as are those of a layer in the published code.

    `groups` is empty where nothing is remembered yet: nothing can be moved then.
    """

    def __init__(
        self, backbone: Backbone, ids: Tensor, state: DecodingState, settings: GradientSettings
    ):
        self._backbone, self._ids, self._state = backbone, ids, state
        window = settings.window
        self._parts = [
            [_Part(one, min(window or one.shape[-2], one.shape[-2])) for one in group]
            for group in backbone.past(state)
        ]
        self.groups: Sequence[int] = [sum(part.size for part in group) for group in self._parts]
        self._sizes = [part.size for group in self._parts for part in group]
        shares = [part.share(settings.decay) for group in self._parts for part in group]
        device = ids.device
        self.share = torch.cat(shares) if shares else torch.zeros(0, device=device)
        self.unit = self.share.new_ones(len(ids), 1)  # as published

    def run(self, moves: Tensor | None) -> tuple[Tensor, DecodingState]:
        if moves is None:
            return self._backbone.step(self._ids, self._state)
        move = iter(moves.split(self._sizes, dim=1))
        moved = [[part.moved(next(move)) for part in group] for group in self._parts]
        return self._backbone.step(self._ids, self._backbone.with_past(self._state, moved))


class BlocksLever:
    """Moves what the last blocks read at the newest position; the blocks below run only once.

    A step is told as a share of the length of what is read, which grows with depth and width.
    """

    def __init__(
        self, backbone: Backbone, ids: Tensor, state: DecodingState, settings: GradientSettings
    ):
        self._x, self._resume = backbone.last_blocks(ids, state, settings.blocks)  # (B, H)
        self.groups: Sequence[int] = [self._x.shape[-1]]
        self.share = self._x.new_ones(self._x.shape[-1], dtype=torch.float32)
        self.unit = self._x.float().norm(dim=1, keepdim=True)

    def run(self, moves: Tensor | None) -> tuple[Tensor, DecodingState]:
        return self._resume(self._x if moves is None else self._x + moves.to(self._x.dtype))
