"""Readers: what a finished text shows, from its sentence embedding; for any generator.

They choose among candidates that steering has drawn and measure what came. Knows embeddings as
vectors and the digest of the encoder they come from; knows no text.

Shapes: `n` texts, `D` dimensions of the embedding, `K` labels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from attribute_models.base import AttributeModelError

Floats = NDArray[np.float32]

WEIGHTS, CARD = "reader.safetensors", "reader.json"


class Reader:
    """Calibrated logistic regression on unit vectors.

    Attributes:
        family: its name.
        labels: K names.
        encoder: digest of the encoder's weights.
        card: what was measured when it was trained.
    """

    def __init__(
        self,
        weight: Floats,
        bias: Floats,
        *,
        family: str,
        labels: Sequence[str],
        encoder: str,
        card: Mapping[str, Any] | None = None,
    ):
        self.weight, self.bias = weight, bias  # (K, D), (K,)
        self.family, self.labels, self.encoder = family, tuple(labels), encoder
        self.card = dict(card or {})
        self.digest = hashlib.sha256(weight.tobytes() + bias.tobytes()).hexdigest()

    @classmethod
    def load(cls, folder: str | Path, *, encoder: str) -> "Reader":
        """The reader of a folder, for the encoder with that digest.

        Raises:
            AttributeModelError: there is none, or one for another encoder.
        """
        folder = Path(folder)
        try:
            told = json.loads((folder / CARD).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
            reader = cls(
                tensors["weight"].astype(np.float32), tensors["bias"].astype(np.float32),
                family=told["family"], labels=told["labels"], encoder=told["encoder"],
                card=told["card"],
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise AttributeModelError(
                f"{folder} holds no reader that can be used ({error}); train it with "
                "`chatbot attributes train`"
            ) from error
        if reader.encoder != encoder:
            raise AttributeModelError(
                f"the reader {reader.family} was trained on the text encoder "
                f"{reader.encoder[:12]}, this one is {encoder[:12]}; train it with "
                "`chatbot attributes train --all --data FOLDER --encoder NAME`, or use the other"
            )
        return reader

    def save(self, folder: str | Path) -> None:
        """Writes weights and card."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": self.weight, "bias": self.bias}, folder / WEIGHTS)
        told = {
            "family": self.family,
            "labels": list(self.labels),
            "encoder": self.encoder,
            "card": self.card,
        }
        (folder / CARD).write_text(
            json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    def read(self, vectors: Floats) -> Floats:
        """Probabilities (n, K) of the labels, from embeddings (n, D)."""
        logits = vectors @ self.weight.T + self.bias
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)
