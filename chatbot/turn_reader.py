"""A reply read together with the turn it answers: how risky it is there, for English.

MiniLM, whose upper layers were taught to read the two at once (`chatbot.pair_reading`). Knows
nothing of how it was trained (`chatbot.training.turn_reader`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatbot.devices import is_bfloat16_native
from chatbot.embedding import minilm_folder
from chatbot.errors import ModelError, reason_of
from chatbot.even_rows import even_rows
from chatbot.pair_reading import Ids, PairNetwork, rows_of

if TYPE_CHECKING:
    from transformers import BertModel

MAX_TURN_PIECES = 48
MAX_REPLY_PIECES = 64
_MAX_ROW = 384
"""Pieces of a row: attention costs their square."""

_FILE = "reader.safetensors"
RETRAIN = "train it again with `chatbot ethics train --data FOLDER`"


class TurnReader(PairNetwork):
    """Log-odds of replies being unethical after the turns they answer."""

    frozen_layers = 2

    def __init__(self, encoder: "BertModel", tokenizer: Any):
        super().__init__(encoder)  # the tokenizer is that of transformers, which has no one type
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
            why = reason_of(error)
            raise ModelError(f"the reader in {folder} cannot be read: {why}; {RETRAIN}") from error
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(changed[name].float())
        if is_bfloat16_native():
            reader.keep_in_bfloat16()
        return reader.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Writes reader.safetensors: what training changed, in 16 bits."""
        from safetensors.torch import save_file

        save_file({k: p.detach().half().contiguous() for k, p in self.trained()}, folder / _FILE)

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
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16_native()):
            odds = [self(rows_of([group], width=_width(*group))) for group in groups]
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


def _width(context: Ids, replies: Sequence[Ids]) -> int:
    """Of a row, one of few: see `chatbot.even_rows`."""
    return even_rows(len(context) + sum(map(len, replies)))
