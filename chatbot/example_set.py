"""Examples with their vectors: how near a reply is to what must not be said and to what may.

Knows vectors, not the encoder that makes them nor what follows from being near.

Shapes: `n` replies, `m` examples, `D` dimensions of a vector.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatbot.embedding import Vectors
from chatbot.errors import ModelError, reason_of
from chatbot.exemplars import Exemplar, shipped_exemplars

_FILE = "examples.safetensors"


class Encoder(Protocol):
    """What turns texts into vectors: `chatbot.embedding.Embedder`, or a stand-in."""

    identity: dict[str, str]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n, D) unit vectors."""


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
    """The matrix product, in float32, by torch.

    The threads of numpy wait for each other by counting, those of torch sleep: where other programs
    run, a product of 20 rows took numpy ten times the processor time.
    """
    import torch

    left, right = (np.asarray(one, np.float32) for one in (left, right))
    found: NDArray[np.float32] = torch.mm(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    return found


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples and their vectors.

    Attributes:
        exemplars: m of them.
        texts: (m, D) unit vectors of their replies.
        contexts: (m, D) of the turns these answer, zeros where there is none.
    """

    exemplars: tuple[Exemplar, ...]
    texts: Vectors
    contexts: Vectors

    @classmethod
    def of(
        cls,
        exemplars: Sequence[Exemplar],
        encoder: Encoder,
        known: Mapping[str, Vectors] | None = None,
    ) -> "ExampleSet":
        """One example or more, with the vectors of `known`, by text; the encoder makes the rest."""
        vectors = dict(known or {})
        wanted = {text for one in exemplars for text in (one.text, one.context) if text}
        missing = sorted(wanted - vectors.keys())
        if missing:
            vectors.update(zip(missing, encoder.encode(missing), strict=True))
        none = np.zeros_like(vectors[exemplars[0].text])
        return cls(
            tuple(exemplars),
            np.stack([vectors[one.text] for one in exemplars]),
            np.stack([vectors[one.context] if one.context else none for one in exemplars]),
        )

    def __add__(self, other: "ExampleSet") -> "ExampleSet":
        return ExampleSet(
            self.exemplars + other.exemplars,
            np.concatenate([self.texts, other.texts]),
            np.concatenate([self.contexts, other.contexts]),
        )

    def likeness(self, replies: Vectors, users: Vectors) -> NDArray[np.float32]:
        """(n, m): cosine of the replies; the lesser of it and that of the turns with a context.

        Args:
            replies, users: (n, D); of users, zeros where there is no turn before, to which no
                example with a context is near.
        """
        of_texts = product(replies, self.texts.T)
        with_context = self.contexts.any(1)
        if with_context.any():
            of_contexts = product(users, self.contexts[with_context].T)
            of_texts[:, with_context] = np.minimum(of_texts[:, with_context], of_contexts)
        return of_texts

    def pull(self, likeness: NDArray[np.float32], near: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) from -1 to 1: how near the nearest unethical example is, less the nearest ethical.

        Args:
            likeness: (n, m).
            near: (n,), below this likeness an example counts as nothing.
        """
        unethical = np.array([one.side == "unethical" for one in self.exemplars])
        sides = [likeness[:, side].max(1, initial=0.0) for side in (unethical, ~unethical)]
        against, towards = [np.maximum(0, (side - near) / (1 - near)) for side in sides]
        return np.asarray(against - towards, np.float32)


def save_vectors(vectors: Mapping[str, Vectors], folder: Path) -> None:
    """Writes the vectors, each beside a digest of its text, so that starting embeds no example."""
    from safetensors.numpy import save_file

    texts = sorted(vectors)
    arrays: dict[str, NDArray[Any]] = {
        "keys": np.stack([_key(text) for text in texts]),
        "vectors": np.stack([vectors[text] for text in texts]).astype(np.float16),
    }
    save_file(arrays, folder / _FILE)


def load_vectors(folder: Path) -> dict[str, Vectors]:
    """Vectors of the shipped examples, by text; texts changed since are missing.

    Raises:
        ModelError: the file is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(folder / _FILE)
        keys, vectors = arrays["keys"], arrays["vectors"].astype(np.float32)
        if keys.dtype != np.uint8 or keys.shape != (len(vectors), 16):
            raise ValueError("the vectors do not fit their keys")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        why = reason_of(error)
        raise ModelError(
            f"the examples in {folder} cannot be read: {why}; "
            "train again with `chatbot ethics train --data FOLDER`"
        ) from error
    row_of = {key.tobytes(): row for row, key in enumerate(keys)}
    texts = {text for one in shipped_exemplars() for text in (one.text, one.context) if text}
    rows = {text: row_of.get(_key(text).tobytes()) for text in texts}
    return {text: vectors[row] for text, row in rows.items() if row is not None}


def _key(text: str) -> NDArray[np.uint8]:
    """(16,) of a digest."""
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.uint8)
