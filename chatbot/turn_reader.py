"""A reply read together with the turn it answers: how risky it is there, for English.

MiniLM, whose upper layers were taught to read the two at once. What was said is read once; every
reply reads it and itself, never another reply. So one row holds a turn with all its replies, and a
reply's rating depends on no other:

    [CLS] turn [SEP] | [CLS] reply 1 [SEP] | [CLS] reply 2 [SEP] | ...

The lower layers stay as they came, and only what was changed is stored. Knows nothing of how it was
trained (`chatbot.training.turn_reader`).

Shapes: `G` rows, `L` ids of a row, `H` hidden size, `R` replies of all rows together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatbot.embedding import minilm_folder
from chatbot.errors import ModelError

if TYPE_CHECKING:
    from transformers import BertModel

FROZEN_LAYERS = 4
"""Of six; the lower ones know words, which ethics does not change."""

MAX_TURN_PIECES = 48
MAX_REPLY_PIECES = 64
_MAX_ROW = 384
"""Pieces of a row: attention costs their square."""

_FILE = "reader.safetensors"
RETRAIN = "train it again with `chatbot ethics train --data FOLDER`"

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Rows:
    """Turns with their replies, padded.

    Attributes:
        ids: (G, L) pieces.
        segments: (G, L) 0 for the turn, 1, 2, ... for its replies, -1 for padding.
        positions: (G, L); the turn and every reply are counted from 0.
        starts: (R, 2) row and column of each reply's [CLS].
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    starts: Tensor


class TurnReader(nn.Module):
    """Log-odds of replies being unethical after the turns they answer."""

    def __init__(self, encoder: "BertModel", tokenizer: Any):
        super().__init__()  # the tokenizer is that of transformers, which has no one type
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.dense = nn.Linear(4 * hidden, hidden)
        self.out = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(0.1)
        self._tokenizer = tokenizer

    @classmethod
    def untrained(cls) -> "TurnReader":
        """With the weights of MiniLM and a head that knows nothing."""
        from transformers import AutoTokenizer, BertModel

        folder = minilm_folder()
        encoder = BertModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        encoder.pooler = None
        return cls(encoder, AutoTokenizer.from_pretrained(folder))

    @classmethod
    def load(cls, folder: Path) -> "TurnReader":
        """The reader of a folder that `save` wrote.

        Raises:
            ModelError: the file is missing or of another reader, or MiniLM is missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        reader = cls.untrained()
        expected = dict(reader.trained())
        try:
            changed = load_file(folder / _FILE)
            if {k: v.shape for k, v in changed.items()} != {
                k: v.shape for k, v in expected.items()
            }:
                raise ValueError("its weights are of another version")
        except (OSError, ValueError, SafetensorError) as error:
            why = str(error).strip().partition("\n")[0].rstrip(" .:")
            raise ModelError(f"the reader in {folder} cannot be read: {why}; {RETRAIN}") from error
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(changed[name].float())
        return reader.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Writes reader.safetensors: what training changed, in 16 bits."""
        from safetensors.torch import save_file

        save_file({k: p.detach().half().contiguous() for k, p in self.trained()}, folder / _FILE)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of what training changes: the upper layers and the head."""
        for name, parameter in self.named_parameters():
            layer = name.removeprefix("encoder.encoder.layer.").partition(".")[0]
            if not name.startswith("encoder.") or (
                layer.isdecimal() and int(layer) >= FROZEN_LAYERS
            ):
                yield name, parameter

    @torch.inference_mode()
    def rate(self, turn: str, replies: Sequence[str]) -> NDArray[np.float32]:
        """(n,) log-odds of n replies; an empty turn where there is none before."""
        context, parts = self.turn_ids(turn), self.reply_ids(replies)
        groups: list[tuple[Ids, list[Ids]]] = []
        room = 0
        for part in parts:
            if len(part) > room:
                groups.append((context, []))
                room = _MAX_ROW - len(context)
            groups[-1][1].append(part)
            room -= len(part)
        odds = [self(rows_of([group])) for group in groups]
        return torch.cat(odds).numpy() if odds else np.zeros(0, np.float32)

    def turn_ids(self, text: str) -> Ids:
        """Of the last pieces of a turn."""
        return self._ids([text], MAX_TURN_PIECES)[0]

    def reply_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Of the last pieces of each reply."""
        return self._ids(texts, MAX_REPLY_PIECES)

    def _ids(self, texts: Sequence[str], most: int) -> list[Ids]:
        if not texts:
            return []
        pieces = self._tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        cls, sep = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [[cls, *one[-most:], sep] for one in pieces]

    def forward(self, rows: Rows) -> Tensor:
        """(R,) log-odds in the order of `rows.starts`."""
        return self.upper(self.lower(rows), rows)

    def lower(self, rows: Rows) -> Tensor:
        """(G, L, H) of the frozen layers, where a reply reads itself alone, as a text does."""
        seen, read = rows.segments[:, None, :], rows.segments[:, :, None]
        hidden = self.encoder.embeddings(input_ids=rows.ids, position_ids=rows.positions)
        return self._through(hidden, seen == read, slice(0, FROZEN_LAYERS))

    def upper(self, hidden: Tensor, rows: Rows) -> Tensor:
        """(R,) of the states of the frozen layers, (G, L, H)."""
        seen, read = rows.segments[:, None, :], rows.segments[:, :, None]
        joint = (seen == read) | ((seen == 0) & (read > 0))  # (G, L, L), query by key
        hidden = self._through(hidden, joint, slice(FROZEN_LAYERS, None))
        row, column = rows.starts.T
        segment = rows.segments[row, column]  # (R,)
        own = _mean(hidden[row], rows.segments[row] == segment[:, None])  # (R, H)
        turn = _mean(hidden, rows.segments == 0)[row]  # (R, H), of no reply
        # The product is where MiniLM keeps how near two texts are: training starts from it.
        near = own * turn * own.shape[1] ** 0.5
        pooled = torch.cat([hidden[row, column], own, near, (own - turn).abs()], dim=1)
        pooled = nn.functional.gelu(self.dense(self.dropout(pooled)))
        return self.out(self.dropout(pooled)).squeeze(1).float()

    def _through(self, hidden: Tensor, seen: Tensor, layers: slice) -> Tensor:
        mask = torch.zeros(seen.shape).masked_fill(~seen, -1e4)[:, None].to(hidden.dtype)
        for layer in self.encoder.encoder.layer[layers]:
            hidden = layer(hidden, mask)
        return hidden


def rows_of(groups: Sequence[tuple[Ids, Sequence[Ids]]]) -> Rows:
    """Turns, each with its replies, one row a turn."""
    longest = max(len(turn) + sum(map(len, replies)) for turn, replies in groups)
    ids = torch.zeros(len(groups), longest, dtype=torch.long)
    segments = torch.full((len(groups), longest), -1)
    positions = torch.zeros(len(groups), longest, dtype=torch.long)
    starts = []
    for row, (turn, replies) in enumerate(groups):
        at = 0
        for segment, part in enumerate([turn, *replies]):
            end = at + len(part)
            ids[row, at:end] = torch.tensor(part)
            segments[row, at:end] = segment
            positions[row, at:end] = torch.arange(len(part))
            if segment:
                starts.append((row, at))
            at = end
    return Rows(ids, segments, positions, torch.tensor(starts))


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """(R, H): mean over the marked positions of (R, L, H)."""
    weights = mask.to(hidden.dtype)
    return torch.einsum("rl,rlh->rh", weights, hidden) / weights.sum(1, keepdim=True)
