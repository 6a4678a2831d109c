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
from chatbot.embedding import minilm_folder
from chatbot.errors import ModelError, reason_of
from chatbot.even_rows import even_rows
from chatbot.pair_reading import Ids, PairNetwork, Rows, rows_of
from chatbot.topics import READER, RETRAIN

if TYPE_CHECKING:
    from transformers import BertModel

MAX_PIECES = 64
"""Of a message, its last: what is asked mostly stands there."""

_MAX_REMEMBERED = 1_024
"""Messages whose logits are kept: the turns of a conversation come again with the next."""


class TopicReader(PairNetwork):
    """Logits of topics and sides of English messages; safe to share by threads."""

    frozen_layers = 3

    def __init__(self, encoder: "BertModel", tokenizer: Any, n_out: int):
        super().__init__(encoder)  # the tokenizer is that of transformers, which has no one type
        hidden = encoder.config.hidden_size
        self.dense = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, n_out)
        self._tokenizer = tokenizer
        self._remembered: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def untrained(cls, n_out: int) -> "TopicReader":
        """With the weights of MiniLM and a head that knows nothing."""
        from transformers import AutoTokenizer, BertModel

        folder = minilm_folder()
        encoder = BertModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        encoder.pooler = None
        return cls(encoder, AutoTokenizer.from_pretrained(folder), n_out)

    @classmethod
    def load(cls, folder: Path, n_out: int) -> "TopicReader":
        """The reader of a folder that `save` wrote.

        Raises:
            ModelError: the file is missing or of another reader, or MiniLM is missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        reader = cls.untrained(n_out)
        expected = dict(reader.trained())
        try:
            changed = load_file(folder / READER)
            if {k: v.shape for k, v in changed.items()} != {
                k: v.shape for k, v in expected.items()
            }:
                raise ValueError("its weights are of another version")
        except (OSError, ValueError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the reader of topics in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(changed[name].float())
        if is_bfloat16_native():
            reader.keep_in_bfloat16()
        return reader.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Writes reader.safetensors: what training changed, in 16 bits."""
        from safetensors.torch import save_file

        save_file({k: p.detach().half().contiguous() for k, p in self.trained()}, folder / READER)

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
        pieces = self._tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        cls, sep = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [[cls, *one[-MAX_PIECES:], sep] for one in pieces]

    def _head(self, hidden: Tensor, rows: Rows) -> Tensor:
        """(n, O) of the last states, (G, L, H)."""
        row, column = rows.starts.T
        is_own = rows.segments[row] == rows.segments[row, column][:, None]  # (n, L)
        weights = is_own.to(hidden.dtype)
        mean = torch.einsum("nl,nlh->nh", weights, hidden[row]) / weights.sum(1, keepdim=True)
        pooled = torch.cat([hidden[row, column], mean], dim=1)
        pooled = nn.functional.gelu(self.dense(self.dropout(pooled)))
        return self.out(self.dropout(pooled))
