"""How well a reply's vector matches those of the turns before: two small networks on MiniLM.

Similar texts are not yet an answer to each other; these networks learn the difference from which
reply stands where in dialogues. Since context and reply meet only in a product, a reply is held
against hundreds of other contexts at no cost: that is what specificity needs.

Shapes: `P` pairs, `D` dimensions of a text's vector, `W` width, `T` = 3 turns of context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TURNS = 3
"""Turns of context that are read, the last one first."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Two networks of one hidden layer each, whose outputs have length 1.

    Attributes:
        weights: `context.in` (T * D, W), `context.out` (W, D), `reply.in` (D, W),
            `reply.out` (W, D), `mix` (T,), `scale` (1,), all float32.
    """

    weights: Mapping[str, Floats]

    def contexts(self, turns: Floats) -> Floats:
        """(P, T, D) turns, the last first, zero where there is none -> (P, D) of length 1."""
        flat = turns.reshape(len(turns), -1)
        hidden = np.maximum(flat @ self.weights["context.in"], 0)
        mixed = np.einsum("ptd,t->pd", turns, self.weights["mix"])
        return _unit(mixed + hidden @ self.weights["context.out"])

    def replies(self, vectors: Floats) -> Floats:
        """(P, D) vectors of replies -> (P, D) of length 1, to be multiplied with contexts."""
        hidden = np.maximum(vectors @ self.weights["reply.in"], 0)
        return _unit(vectors + hidden @ self.weights["reply.out"])

    def logits(self, contexts: Floats, replies: Floats) -> Floats:
        """(P, D), (Q, D) -> (P, Q)."""
        return float(self.weights["scale"][0]) * (contexts @ replies.T)


def stacked(turns: Sequence[Floats], dimensions: int) -> Floats:
    """(T, D) of a context's turns, (D,) each, oldest first: the last first, zero where missing."""
    result = np.zeros((TURNS, dimensions), np.float32)
    for place, vector in enumerate(reversed(turns[-TURNS:])):
        result[place] = vector
    return result


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
