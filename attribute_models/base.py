"""What every attribute model gives: who it is, and how well a hidden state shows its attribute."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from attribute_models.lexicon import Language


class AttributeModelError(Exception):
    """An attribute model cannot be read, or was not trained for what it shall be used with."""


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """Identity of an attribute model.

    Attributes:
        name: what `Controls` call it.
        language: the replies it can steer; None for any.
        kind: how it was made.
        digest: SHA-256 of what it was made from.
    """

    name: str
    language: Language | None
    kind: Literal["bag", "head"]
    digest: str


class AttributeModel(Protocol):
    """Scores hidden states, B at a time; a row's result depends on no other row."""

    spec: AttributeSpec

    def score(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Log-likelihood (B,) of showing the attribute with probability `wanted`.

        Args:
            hidden: (B, H), the input of the output embedding.
            wanted: (B,) from 0 to 1; each row has its own.
        """
        ...

    def gradient(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Of `score` with respect to `hidden`, (B, H), without autograd."""
        ...
