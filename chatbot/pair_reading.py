"""MiniLM, made to read what was said and its replies together: rows of ids, and the network.

What was said is read once; every reply reads it and itself, never another reply. So one row holds a
context with any number of replies, and the result of a reply depends on no other:

    [CLS] turn [SEP] | [CLS] reply 1 [SEP] | [CLS] reply 2 [SEP] | ...

The lower layers stay as they came: only what was changed is stored. Knows nothing of what is
judged.

Shapes: `G` rows, `L` ids of a row, `H` hidden size, `R` replies of all rows together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import BertModel

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Rows:
    """Contexts with their replies, padded.

    Attributes:
        ids: (G, L) pieces.
        segments: (G, L) 0 for the context, 1, 2, ... for its replies, -1 for padding.
        positions: (G, L); the context and every reply are counted from 0.
        starts: (R, 2) row and column of each reply's [CLS].
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    starts: Tensor


def rows_of(groups: Sequence[tuple[Ids, Sequence[Ids]]], *, width: int = 0) -> Rows:
    """Contexts with their replies as (G, L), L the longest row or `width` if that is more."""
    longest = max(width, *(len(context) + sum(map(len, parts)) for context, parts in groups))
    ids = torch.zeros(len(groups), longest, dtype=torch.long)
    segments = torch.full((len(groups), longest), -1)
    positions = torch.zeros(len(groups), longest, dtype=torch.long)
    starts = []
    for row, (context, replies) in enumerate(groups):
        at = 0
        for segment, part in enumerate([context, *replies]):
            end = at + len(part)
            ids[row, at:end] = torch.tensor(part)
            segments[row, at:end] = segment
            positions[row, at:end] = torch.arange(len(part))
            if segment:
                starts.append((row, at))
            at = end
    return Rows(ids, segments, positions, torch.tensor(starts))


class PairNetwork(nn.Module):
    """One number for each reply to its context.

    Attributes:
        frozen_layers: how many of the encoder's, from below, training leaves as they are: they
            know words.
    """

    frozen_layers = 3

    def __init__(self, encoder: "BertModel"):
        super().__init__()
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.dense = nn.Linear(4 * hidden, hidden)
        self.out = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(0.1)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of what training changes: the upper layers and the head."""
        for name, parameter in self.named_parameters():
            layer = name.removeprefix("encoder.encoder.layer.").partition(".")[0]
            if not name.startswith("encoder.") or (
                layer.isdecimal() and int(layer) >= self.frozen_layers
            ):
                yield name, parameter

    def keep_in_bfloat16(self) -> None:
        """Keeps what is multiplied as autocast would make it anew at every call; for reading alone.

        The same bits come out, without a copy of all weights for each row.
        """
        for module in self.encoder.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)

    def forward(self, rows: Rows) -> Tensor:
        """(R,) numbers in the order of `rows.starts`."""
        return self.upper(self.lower(rows), rows)

    def lower(self, rows: Rows) -> Tensor:
        """(G, L, H) of the frozen layers, where a reply reads itself alone, as a text does."""
        seen, read = rows.segments[:, None, :], rows.segments[:, :, None]
        hidden = self.encoder.embeddings(input_ids=rows.ids, position_ids=rows.positions)
        return self._through(hidden, seen == read, slice(0, self.frozen_layers))

    def upper(self, hidden: Tensor, rows: Rows) -> Tensor:
        """(R,) of the states of the frozen layers, (G, L, H)."""
        seen, read = rows.segments[:, None, :], rows.segments[:, :, None]
        joint = (seen == read) | ((seen == 0) & (read > 0))  # (G, L, L), query by key
        hidden = self._through(hidden, joint, slice(self.frozen_layers, None))
        # In float32 to the end: in 16 bits numbers of about 1 are steps of 0.01 apart.
        with torch.autocast(hidden.device.type, enabled=False):
            return self._head(hidden.float(), rows)

    def _head(self, hidden: Tensor, rows: Rows) -> Tensor:
        """(R,) of the last states, (G, L, H)."""
        row, column = rows.starts.T
        segment = rows.segments[row, column]  # (R,)
        own = _mean(hidden[row], rows.segments[row] == segment[:, None])  # (R, H)
        context = _mean(hidden, rows.segments == 0)[row]  # (R, H), of no reply
        # The product is where MiniLM keeps how near two texts are: training starts from it.
        near = own * context * own.shape[1] ** 0.5
        pooled = torch.cat([hidden[row, column], own, near, (own - context).abs()], dim=1)
        pooled = nn.functional.gelu(self.dense(self.dropout(pooled)))
        return self.out(self.dropout(pooled)).squeeze(1)

    def _through(self, hidden: Tensor, seen: Tensor, layers: slice) -> Tensor:
        mask = torch.zeros(seen.shape).masked_fill(~seen, -1e4)[:, None].to(hidden.dtype)
        for layer in self.encoder.encoder.layer[layers]:
            hidden = layer(hidden, mask)
        return hidden


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """(R, H): mean over the marked positions of (R, L, H)."""
    weights = mask.to(hidden.dtype)
    return torch.einsum("rl,rlh->rh", weights, hidden) / weights.sum(1, keepdim=True)
