"""A Korean reply read word by word: how risky it is, by those who judge texts of its kind.

The Korean encoder, taught further to tell what people called unethical. People who labelled news
comments called more unethical than those who labelled sentences on groups, so each source of labels
has raters of its own, and a reply is judged by those whose texts it resembles. Knows nothing of how
it was trained (`chatbot.training.korean_reader`).

Shapes: `n` replies, `B` of a batch, `R` raters.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatbot.errors import ModelError, reason_of
from chatbot.ethics_probe import RETRAIN
from chatbot.korean_encoder import KoreanEncoder, KoreanEncoderConfig, Parts, packed, unpacked

_TENSORS = "korean_reader.safetensors"
_SIZES = "korean_reader.json"
_BATCH = 64


class KoreanReader(nn.Module):
    """Log-odds of Korean replies being unethical.

    Attributes:
        raters: names of the sources of labels, R.
        risk: what all raters see in a reply; `strictness` is what each of them adds.
        style: whose texts a reply resembles.
    """

    def __init__(self, encoder: KoreanEncoder, raters: Sequence[str]):
        super().__init__()
        self.encoder = encoder
        self.raters = tuple(raters)
        self.dropout = nn.Dropout(0.3)
        dimensions = encoder.config.dimensions
        self.risk = nn.Linear(dimensions, 1)
        self.strictness = nn.Linear(dimensions, len(self.raters))
        self.style = nn.Linear(dimensions, len(self.raters))

    def forward(self, batch: Parts) -> tuple[Tensor, Tensor]:
        """(B, R) log-odds by each of the raters, and (B, R) logits of whose texts these are."""
        features = self.dropout(nn.functional.gelu(self.encoder.features(batch)))
        return self.risk(features) + self.strictness(features), self.style(features)

    @torch.inference_mode()
    def rate(self, replies: Sequence[str]) -> NDArray[np.float32]:
        """(n,) log-odds: the mean risk by all raters, as probable as they are."""
        order = sorted(range(len(replies)), key=lambda i: (len(replies[i]), replies[i]))
        found = np.zeros(len(replies), np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            odds, style = self(self.encoder.read([replies[i] for i in rows]))
            found[rows] = mixed(odds, style).numpy()
        return found

    def save(self, folder: Path) -> None:
        """Writes korean_reader.safetensors, part vectors in 8 bits, and korean_reader.json."""
        from safetensors.torch import save_file

        save_file(packed(self.state_dict()), folder / _TENSORS)
        told = {"encoder": asdict(self.encoder.config), "raters": self.raters}
        (folder / _SIZES).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "KoreanReader":
        """The reader of a folder that `save` wrote.

        Raises:
            ModelError: a file is missing or not what it should be.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            told: dict[str, Any] = json.loads((folder / _SIZES).read_text(encoding="utf-8"))
            with torch.device("meta"):
                reader = cls(KoreanEncoder(KoreanEncoderConfig(**told["encoder"])), told["raters"])
            reader.load_state_dict(unpacked(load_file(folder / _TENSORS)), assign=True)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the Korean reader in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error
        return reader.eval().requires_grad_(False)


def mixed(odds: Tensor, style: Tensor) -> Tensor:
    """(B,) log-odds of the mean of the risks by raters, (B, R), weighed by the softmax of style."""
    weights = nn.functional.log_softmax(style, 1)
    risky = torch.logsumexp(weights + nn.functional.logsigmoid(odds), 1)
    fine = torch.logsumexp(weights + nn.functional.logsigmoid(-odds), 1)
    return risky - fine
