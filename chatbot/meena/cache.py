"""What the decoder remembers between tokens; knows nothing of how it is computed.

`B` rows of the decoder batch, `G` encoder rows (conversations), `t` tokens decoded so far,
`S` context length, `d` width, `h`/`H` heads. When `B > G`, each encoder row serves `B / G`
consecutive decoder rows (its candidates), whose cross-attention keys and values are shared.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from torch import Tensor

KeyValue = tuple[Tensor, Tensor]


@dataclass(slots=True)
class BlockState:
    """Incremental state of one decoder block.

    Attributes:
        wide_kv: keys, values of sub-layer 1, each (B, H, t, d/H).
        kv: keys, values of sub-layer 3, each (B, h, t, d/h).
        window_in: last 10 normalised inputs of the branched convolutions, (B, 10, d).
        window_mid: last 6 normalised sums of the branches, (B, 6, 2d).
        wide_cross, cross: encoder keys, values of sub-layers 1 and 4, each (G, h, S, d/h).
    """

    wide_kv: KeyValue
    kv: KeyValue
    window_in: Tensor
    window_mid: Tensor
    wide_cross: KeyValue
    cross: KeyValue

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
            self.wide_cross, self.cross,
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
        """Keep decoder rows `rows`; for caches whose rows share one encoder row (G == 1)."""
        for block in self.blocks:
            block.select(rows, BlockState.PER_ROW)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder whole rows, encoder side included: beam search of `generate` (G == B)."""
        for block in self.blocks:
            block.select(beam_idx, tuple(f.name for f in fields(BlockState)))
