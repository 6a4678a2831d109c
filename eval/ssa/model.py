"""The network that judges whether a reply fits its context: MiniLM, made to read the two together.

The context is read once; every reply reads the context and itself, never another reply. So one
row holds a context with any number of replies, and a reply's score depends on no other:

    [CLS] turn [SEP] turn [SEP] | [CLS] reply 1 [SEP] | [CLS] reply 2 [SEP] | ...

The lower half of MiniLM stays as it is; only what was changed is stored.

Shapes: `G` rows, `L` ids of a row, `H` hidden size, `R` replies of all rows together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertModel, PreTrainedTokenizerFast

FROZEN_LAYERS = 3
"""Of six; the lower ones know words, which dialogue does not change."""

MAX_TURNS = 4
MAX_TURN_PIECES = 20
MAX_LAST_PIECES = 32
MAX_REPLY_PIECES = 28

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Rows:
    """Contexts with their replies, padded.

    Attributes:
        ids: (G, L) pieces.
        segments: (G, L) 0 for context, 1, 2, … for its replies, -1 for padding.
        positions: (G, L); the context and every reply are counted from 0.
        starts: (R, 2) row and column of each reply's [CLS].
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    starts: Tensor


class PairReader:
    """Turns contexts and replies into rows of ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self._tokenizer = tokenizer
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._known: dict[str, Ids] = {}

    def pieces(self, text: str) -> Ids:
        """Ids of a normalised turn, none of them special."""
        if text not in self._known:
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[text] = self._tokenizer(
                text, add_special_tokens=False, truncation=True, max_length=256
            )["input_ids"]
        return self._known[text]

    def context(self, turns: Sequence[str]) -> Ids:
        """[CLS] and the last turns, each with its [SEP]; of long ones the beginning and the end."""
        ids = [self._cls]
        kept = turns[-MAX_TURNS:]
        for i, turn in enumerate(kept, start=1):
            limit = MAX_LAST_PIECES if i == len(kept) else MAX_TURN_PIECES
            ids += [*_shortened(self.pieces(turn), limit), self._sep]
        return ids

    def reply(self, text: str) -> Ids:
        return [self._cls, *_shortened(self.pieces(text), MAX_REPLY_PIECES), self._sep]

    def rows(self, groups: Sequence[tuple[Ids, Sequence[Ids]]], *, width: int = 0) -> Rows:
        """Contexts with their replies as (G, L), L the longest row or `width` if that is more."""
        longest = max(width, *(len(c) + sum(map(len, rs)) for c, rs in groups))
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


def _shortened(ids: Ids, limit: int) -> Ids:
    """At most `limit` ids: the first third and the last two thirds of what fits."""
    head = limit // 3
    return ids if len(ids) <= limit else ids[:head] + ids[head - limit :]


class Plausibility(nn.Module):
    """Logit of a reply making sense after its context."""

    def __init__(self, encoder: BertModel):
        super().__init__()
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.dense = nn.Linear(4 * hidden, hidden)
        self.out = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(0.1)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of what training changes: the upper layers and the head."""
        for name, parameter in self.named_parameters():
            upper = any(
                name.startswith(f"encoder.encoder.layer.{i}.")
                for i in range(FROZEN_LAYERS, self.encoder.config.num_hidden_layers)
            )
            if upper or not name.startswith("encoder."):
                yield name, parameter

    def forward(self, rows: Rows) -> Tensor:
        """(R,) logits in the order of `rows.starts`."""
        hidden = self.states(rows)  # (G, L, H)
        row, column = rows.starts.T
        segment = rows.segments[row, column]  # (R,)
        own = _mean(hidden[row], rows.segments[row] == segment[:, None])  # (R, H)
        context = _mean(hidden, rows.segments == 0)[row]  # (R, H), of no reply
        # The product is where MiniLM keeps how near two texts are: training starts from it.
        near = own * context * own.shape[1] ** 0.5
        pooled = torch.cat([hidden[row, column], own, near, (own - context).abs()], dim=1)
        pooled = nn.functional.gelu(self.dense(self.dropout(pooled)))
        return self.out(self.dropout(pooled)).squeeze(1).float()

    def states(self, rows: Rows) -> Tensor:
        """(G, L, H) of the last layer.

        In the frozen layers a reply reads only itself: those were made for single texts.
        """
        seen, read = rows.segments[:, None, :], rows.segments[:, :, None]
        itself = seen == read  # (G, L, L), query by key; padding reads padding
        joint = itself | ((seen == 0) & (read > 0))
        hidden = self.encoder.embeddings(input_ids=rows.ids, position_ids=rows.positions)
        alone, together = (
            torch.zeros(mask.shape).masked_fill(~mask, -1e4)[:, None].to(hidden.dtype)
            for mask in (itself, joint)
        )
        for i, layer in enumerate(self.encoder.encoder.layer):
            hidden = layer(hidden, alone if i < FROZEN_LAYERS else together)
        return hidden


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """(R, H): mean over the marked positions of (R, L, H)."""
    weights = mask.to(hidden.dtype)
    return torch.einsum("rl,rlh->rh", weights, hidden) / weights.sum(1, keepdim=True)
