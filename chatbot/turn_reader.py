"""A reply read together with the turn it answers: how risky it is there, for English.

MiniLM, whose upper layers were taught to read the two at once (`chatbot.pair_reading`). Knows
nothing of how it was trained (`chatbot.training.turn_reader`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from chatbot.devices import is_bfloat16_native
from chatbot.even_rows import even_rows
from chatbot.minilm_reader import MiniLMReader, minilm
from chatbot.pair_reading import Ids, rows_of

MAX_TURN_PIECES = 48
MAX_REPLY_PIECES = 64
_MAX_ROW = 384
"""Pieces of a row: attention costs their square."""

_FILE = "reader.safetensors"
RETRAIN = "train it again with `chatbot ethics train --data FOLDER`"


class TurnReader(MiniLMReader):
    """Log-odds of replies being unethical after the turns they answer."""

    frozen_layers = 2

    @classmethod
    def untrained(cls) -> "TurnReader":
        """With the weights of MiniLM and a head that knows nothing."""
        return cls(*minilm())

    @classmethod
    def load(cls, folder: Path) -> "TurnReader":
        """The reader of a folder that `save` wrote.

        Raises:
            ModelError: the file is missing or of another reader, or MiniLM is missing.
        """
        reader = cls.untrained()
        reader.take_over(folder / _FILE, RETRAIN)
        return reader

    def save(self, folder: Path) -> None:
        """Writes reader.safetensors: what training changed, in 16 bits."""
        self.store(folder / _FILE)

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
        return self.ids_of([text], MAX_TURN_PIECES)[0]

    def reply_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Of the last pieces of each reply."""
        return self.ids_of(texts, MAX_REPLY_PIECES)


def _width(context: Ids, replies: Sequence[Ids]) -> int:
    """Of a row, one of few: see `chatbot.even_rows`."""
    return even_rows(len(context) + sum(map(len, replies)))
