"""What the decoder remembers between tokens; knows nothing of how it is computed.

`B` rows of the decoder batch, `G` encoder rows (conversations), `t` tokens decoded so far,
`S` context length, `d` width, `h`/`H` heads. When `B > G`, each encoder row serves consecutive
decoder rows (its candidates), whose cross-attention keys and values are shared: `B / G` of them, or
as many as their `Seats` tell once some have left the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Seats:
    """Where the rows sit in a grid of G groups of `width`, for groups of unequal size.

    Attributes:
        places: (B,) long, rising, each `group * width + place in the group`.
        width: number of rows of the fullest group.
    """

    places: Tensor
    width: int

    @classmethod
    def of(cls, groups: Tensor, n_groups: int) -> "Seats | None":
        """For rows of these groups, (B,) never falling; None where all groups have as many."""
        counts = groups.bincount(minlength=n_groups)  # (G,)
        width = int(counts.max())
        if width * n_groups == len(groups):
            return None
        first = counts.cumsum(0) - counts
        within = torch.arange(len(groups), device=groups.device) - first[groups]
        return cls(groups * width + within, width)

    def spread(self, rows: Tensor, n_groups: int) -> Tensor:
        """Rows (B, T, d) in their seats (G * width, T, d), zeros where nobody sits."""
        grid = rows.new_zeros(n_groups * self.width, *rows.shape[1:])
        return grid.index_copy(0, self.places, rows)


@dataclass(slots=True)
class BlockState:
    """Incremental state of one decoder block.

    Attributes:
        wide_kv: keys, values of sub-layer 1, each (B, H, t, d/H).
        kv: keys, values of sub-layer 3, each (B, h, t, d/h).
        window_in: last 10 normalised inputs of the branched convolutions, (B, 10, d).
        window_mid: last 6 normalised sums of the branches, (B, 6, 2d).
        wide_cross, cross: encoder keys, values of sub-layers 1 and 4, each (G, h, S, d/h).
        seats: which row belongs to which group; None where each has B / G rows.
    """

    wide_kv: KeyValue
    kv: KeyValue
    window_in: Tensor
    window_mid: Tensor
    wide_cross: KeyValue
    cross: KeyValue
    seats: Seats | None = None

    PER_ROW = ("wide_kv", "kv", "window_in", "window_mid")

    def select(self, rows: Tensor, names: tuple[str, ...]) -> None:
        """Keep `rows` (in that order) of the named tensors."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, tuple):
                setattr(self, name, (value[0][rows], value[1][rows]))
            else:
                setattr(self, name, value[rows])

    def detached(self) -> "BlockState":
        """The same numbers, through which no gradient goes."""

        def cut(value: KeyValue) -> KeyValue:
            return value[0].detach(), value[1].detach()

        return BlockState(
            cut(self.wide_kv), cut(self.kv), self.window_in.detach(), self.window_mid.detach(),
            self.wide_cross, self.cross, self.seats,
        )  # fmt: skip


class MeenaCache:
    """State of a decoding batch: one `BlockState` per decoder block.

    It also answers what `transformers` asks of a cache (`get_seq_length`, `reorder_cache`).
    """

    is_compileable = False

    def __init__(self, blocks: list[BlockState]):
        self.blocks = blocks

    def __iter__(self) -> Iterator[BlockState]:
        return iter(self.blocks)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens decoded so far."""
        return self.blocks[layer_idx].kv[0].shape[2]

    def select_rows(self, rows: Tensor) -> None:
        """Go on with decoder rows `rows`, groups in their order, each with any number of rows."""
        first = self.blocks[0]
        n_rows, n_groups = len(first.window_in), len(first.cross[0])
        if first.seats is None:
            groups = rows // (n_rows // n_groups)
        else:
            groups = first.seats.places[rows] // first.seats.width
        seats = Seats.of(groups, n_groups)
        for block in self.blocks:
            block.select(rows, BlockState.PER_ROW)
            block.seats = seats

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder whole rows, encoder side included: beam search of `generate` (G == B)."""
        for block in self.blocks:
            block.select(beam_idx, tuple(f.name for f in fields(BlockState) if f.name != "seats"))
