"""What can be measured of Korean replies, which MiniLM does not know: the shipped generator's view.

Each reply is scored alone, so that its numbers depend on no other. Shapes: `P` pairs.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chatbot.backbone import Backbone
from chatbot.prompt import build_context
from chatbot.scoring import reply_log_likelihoods

Floats = NDArray[np.float64]

_ANYWHERE = "안녕!"
"""What a reply is scored after to see how probable it is as such."""


class KoreanFit:
    """How well Korean replies fit their contexts; loads the generator when first asked."""

    @cached_property
    def _generator(self) -> Backbone:
        return Backbone.load(device="cpu", dtype="float32")

    def measures(self, pairs: Sequence[tuple[Sequence[str], str]]) -> tuple[Floats, Floats, Floats]:
        """(P,) each: shared pairs of letters, log-probability won by the context, that a piece."""
        rows = [(_shared_bigrams(c, r), *self._gain(c, r)) for c, r in pairs]
        shared, gain, per_piece = np.array(rows, dtype=float).reshape(-1, 3).T
        return shared, gain, per_piece

    def _gain(self, context: Sequence[str], reply: str) -> tuple[float, float]:
        generator = self._generator
        pieces = [*generator.pieces(reply), generator.special.eos][:128]
        prompts = [
            build_context(
                [generator.pieces(turn) for turn in turns], generator.special,
                max_tokens=generator.model.config.max_context,
            ).ids
            for turns in (list(context) or [_ANYWHERE], [_ANYWHERE])
        ]  # fmt: skip
        (after,), (alone,) = (
            reply_log_likelihoods(generator.model, [prompt], [pieces]) for prompt in prompts
        )
        gain = float((after.double() - alone.double()).sum())
        return gain, gain / len(pieces)


def _shared_bigrams(context: Sequence[str], reply: str) -> float:
    return math.log1p(len(_bigrams("".join(context[-3:])) & _bigrams(reply)))


def _bigrams(text: str) -> set[str]:
    letters = "".join(c for c in text if c.isalnum())
    return {letters[i : i + 2] for i in range(len(letters) - 1)}
