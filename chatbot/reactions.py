"""What a reply does with what was said: disapproves, approves, sympathises, takes a side, evades.

Logistic regressions over the sentence vector of the reply and the hashed parts of its words; of
Korean replies the parts alone, as in `chatbot.topics`. They read the reply without the turn it
answers, so that "That's awful" reads the same to a thief and to who was robbed: what is wanted of
a reply is the policy's to know (`chatbot.policy`).

A side is taken by any clause: "You're right, I'm not sure." and "I don't know. They are all liars."
would hide it among words that take none.

Shapes: `n` replies, `D` dimensions of a vector, `R` reactions.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import ModelError, reason_of
from chatbot.policy import REACTIONS
from chatbot.topics import RETRAIN, check_encoder, detector_folder, parts_logits, seen

if TYPE_CHECKING:
    from chatbot.embedding import Embedder

Array = NDArray[np.float32]

FILE = "reactions.safetensors"
_TENSORS = ("vector_weight", "parts_weight", "parts_rarity", "bias")
_CLAUSE = re.compile(r"[^.!?…,]+[.!?…,]*")
_SIDE = REACTIONS.index("takes_side")


@dataclass(frozen=True, slots=True)
class ReactionWeights:
    """What reactions are read with.

    Attributes:
        vector_weight: (R, D), of the sentence vector.
        parts_weight: (buckets, R), summed over the parts of a reply.
        parts_rarity: (buckets,), how much a part counts beside the others of its reply.
        bias: (R,).
        encoder: digest of the encoder whose vectors it was trained on.
    """

    vector_weight: Array
    parts_weight: Array
    parts_rarity: Array
    bias: Array
    encoder: str

    def read(self, vectors: Array, texts: Sequence[str]) -> Array:
        """(n, R) probabilities of the reactions, each by itself.

        Args:
            vectors: (n, D) unit vectors of the texts.
        """
        logits = seen(vectors, texts) @ self.vector_weight.T + self.bias  # (n, R)
        logits += parts_logits(texts, self.parts_weight, self.parts_rarity)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes reactions.safetensors, in 16 bits."""
        from safetensors.numpy import save_file

        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in _TENSORS}
        save_file(tensors, folder / FILE, metadata={"encoder": self.encoder})

    @classmethod
    def load(cls, folder: Path) -> "ReactionWeights":
        """The weights of a folder that `save` wrote.

        Raises:
            ModelError: the file is missing or not what it should be.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(folder / FILE, "np") as file:
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in _TENSORS}
                encoder = str((file.metadata() or {})["encoder"])
            if tensors["bias"].shape != (len(REACTIONS),):
                raise ValueError("its weights are of another version")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the reader of reactions in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error
        return cls(**tensors, encoder=encoder)


class ReactionReader:
    """Reads reactions of replies; safe to share by threads."""

    def __init__(self, weights: ReactionWeights, embedder: "Embedder"):
        check_encoder("the reader of reactions", weights.encoder, embedder)
        self.weights = weights
        self.embedder = embedder

    @classmethod
    def load(
        cls, folder: str | Path | None = None, embedder: "Embedder | None" = None
    ) -> "ReactionReader":
        """The reader of a folder, or the one that lies beside the detector of topics in use.

        Raises:
            ModelError: it cannot be read, or was trained on other vectors.
        """
        from chatbot.embedding import Embedder

        embedder = embedder or Embedder.load()
        folder = folder or detector_folder(embedder.identity["digest"])
        return cls(ReactionWeights.load(Path(folder)), embedder)

    def read(self, replies: Sequence[str], wanted: Collection[str] = REACTIONS) -> Array:
        """(n, R) probabilities of `REACTIONS`, each by itself; one call of the encoder.

        Args:
            wanted: reactions that matter; clauses are read only where a side taken is one.
        """
        if not replies:
            return np.zeros((0, len(REACTIONS)), np.float32)
        has_clauses = REACTIONS[_SIDE] in wanted
        clauses = {reply: _clauses(reply) if has_clauses else [] for reply in replies}
        texts = list(dict.fromkeys([*clauses, *(one for some in clauses.values() for one in some)]))
        read = dict(zip(texts, self.weights.read(self.embedder.encode(texts), texts), strict=True))
        told = np.stack([read[reply] for reply in replies])
        told[:, _SIDE] = [
            max(read[one][_SIDE] for one in (reply, *clauses[reply])) for reply in replies
        ]
        return told


def _clauses(reply: str) -> list[str]:
    """What stands between full stops and commas, as sentences; nothing of a reply of one clause."""
    found = [one for one in map(str.strip, _CLAUSE.findall(reply)) if one]
    return [re.sub(",+$", ".", one) for one in found] if len(found) > 1 else []
