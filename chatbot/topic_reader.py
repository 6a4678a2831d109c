"""What an English message is about, read word by word: logits beside those of `chatbot.topics`.

MiniLM, whose upper layers were taught to tell topics apart (`chatbot.pair_reading` without a
context). Knows nothing of how it was trained (`chatbot.training.topic_reader`).

Shapes: `n` texts, `L` ids of a row, `H` hidden size, `O` outputs: the topics, then the sides of
crime.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatbot.devices import is_bfloat16_native
from chatbot.even_rows import even_rows
from chatbot.minilm_reader import MiniLMReader, minilm
from chatbot.pair_reading import Ids, Rows, rows_of
from chatbot.topics import READER, RETRAIN

if TYPE_CHECKING:
    from transformers import BertModel

MAX_PIECES = 64
"""Of a message, its last: what is asked mostly stands there."""

_MAX_REMEMBERED = 1_024
"""Messages whose logits are kept: the turns of a conversation come again with the next."""


class TopicReader(MiniLMReader):
    """Logits of topics and sides of English messages; safe to share by threads."""

    frozen_layers = 3

    def __init__(self, encoder: "BertModel", tokenizer: Any, n_out: int):
        super().__init__(encoder, tokenizer)
        hidden = encoder.config.hidden_size
        self.dense = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, n_out)
        self._remembered: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def untrained(cls, n_out: int) -> "TopicReader":
        """With the weights of MiniLM and a head that knows nothing."""
        return cls(*minilm(), n_out)

    @classmethod
    def load(cls, folder: Path, n_out: int) -> "TopicReader":
        """The reader of a folder that `save` wrote.

        Raises:
            ModelError: the file is missing or of another reader, or MiniLM is missing.
        """
        reader = cls.untrained(n_out)
        reader.take_over(folder / READER, RETRAIN)
        return reader

    def save(self, folder: Path) -> None:
        """Writes reader.safetensors: what training changed, in 16 bits."""
        self.store(folder / READER)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, O) of n messages, at least one; those of messages read lately are not read again."""
        with self._lock:
            known = {text: self._remembered[text] for text in texts if text in self._remembered}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._read(missing), strict=True))
        with self._lock:
            for text in texts:
                self._remembered[text] = known[text]
                self._remembered.move_to_end(text)
            while len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return np.stack([known[text] for text in texts])

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, O), each message in a row of its own: the same bits whatever else is read."""
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16_native()):
            found = [
                self(rows_of([([], [ids])], width=even_rows(len(ids)))) for ids in self.ids(texts)
            ]
        return torch.cat(found).float().numpy()

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Of the last pieces of each text."""
        return self.ids_of(texts, MAX_PIECES)

    def _head(self, hidden: Tensor, rows: Rows) -> Tensor:
        """(n, O) of the last states, (G, L, H)."""
        row, column = rows.starts.T
        is_own = rows.segments[row] == rows.segments[row, column][:, None]  # (n, L)
        weights = is_own.to(hidden.dtype)
        mean = torch.einsum("nl,nlh->nh", weights, hidden[row]) / weights.sum(1, keepdim=True)
        pooled = torch.cat([hidden[row, column], mean], dim=1)
        pooled = nn.functional.gelu(self.dense(self.dropout(pooled)))
        return self.out(self.dropout(pooled))
