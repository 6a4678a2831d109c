"""A reader of English that begins as MiniLM; its file holds what training changed.

Knows nothing of what is read for (`chatbot.turn_reader`, `chatbot.topic_reader`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatbot.devices import is_bfloat16_native
from chatbot.embedding import minilm_folder
from chatbot.errors import ModelError, reason_of
from chatbot.pair_reading import Ids, PairNetwork

if TYPE_CHECKING:
    from transformers import BertModel


class MiniLMReader(PairNetwork):
    """MiniLM, its tokenizer, and a head that a subclass may replace."""

    def __init__(self, encoder: "BertModel", tokenizer: Any):
        super().__init__(encoder)  # the tokenizer is that of transformers, which has no one type
        self._tokenizer = tokenizer

    def take_over(self, file: Path, retrain: str) -> None:
        """Takes over what `store` wrote, and makes the network ready to read.

        Args:
            retrain: what to do where it cannot be done.

        Raises:
            ModelError: the file is missing or of another reader.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        expected = dict(self.trained())
        try:
            changed = load_file(file)
            if {k: v.shape for k, v in changed.items()} != {
                k: v.shape for k, v in expected.items()
            }:
                raise ValueError("its weights are of another version")
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"the reader {file} cannot be read: {reason_of(error)}; {retrain}"
            ) from error
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(changed[name].float())
        if is_bfloat16_native():
            self.keep_in_bfloat16()
        self.eval().requires_grad_(False)

    def store(self, file: Path) -> None:
        """Writes what training changed, in 16 bits."""
        from safetensors.torch import save_file

        save_file({k: p.detach().half().contiguous() for k, p in self.trained()}, file)

    def ids_of(self, texts: Sequence[str], most: int) -> list[Ids]:
        """Of the last pieces of each text, between [CLS] and [SEP].

        Args:
            most: pieces that are kept.
        """
        if not texts:
            return []
        pieces = self._tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        cls, sep = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [[cls, *one[-most:], sep] for one in pieces]


def minilm() -> tuple["BertModel", Any]:
    """The encoder in float32, and its tokenizer.

    Raises:
        ModelError: MiniLM is missing.
    """
    from transformers import AutoTokenizer, BertModel

    folder = minilm_folder()
    encoder = BertModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    encoder.pooler = None
    return encoder, AutoTokenizer.from_pretrained(folder)
