"""What every family of generators gives the decoding loop and the steering: the interface.

Shapes: `G` conversations, `N` candidates of each, `B = G * N` decoder rows, `S` context length,
`T` pieces of a reply, `H` hidden size, `V` pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Ids = Sequence[int]


@dataclass(slots=True)
class DecodingState:
    """What the rows of one decoding batch remember; belongs to one call.

    Attributes:
        cache: a `MeenaCache`, or one of transformers; a step never changes it, it makes another.
        memory_mask: True for context that is no padding; None where none is padded. (G, S) of a
            Meena, (B, S) of others: what the encoder read, or the prompt that the cache holds.
        memory: (B, S, H) output of the encoder, where the cache does not hold all of it.
    """

    cache: Any  # the families have caches of their own
    memory_mask: Tensor | None
    memory: Tensor | None = None

    def detached(self) -> "DecodingState":
        """The same numbers, through which no gradient goes."""
        from chatbot.backbones.caches import detached

        return replace(self, cache=detached(self.cache))


Resume = Callable[[Tensor], tuple[Tensor, DecodingState]]
"""What last blocks read at the newest position, (B, H) -> final hidden states (B, H) and state."""


class Network(Protocol):
    """A generator as the decoding loop and the steering use it.

    The one hook point is the *final hidden state*: exactly what the output embedding multiplies.
    """

    @property
    def blocks(self) -> list[nn.Module]:
        """Of the decoder, first to last."""
        ...

    def start(self, prompts: Sequence[Ids], candidates: int) -> DecodingState:
        """Reads G prompts once, for `candidates` rows each."""
        ...

    def first(self, prompts: Sequence[Ids], candidates: int) -> Tensor:
        """The id (B,) that each row reads first: the start piece, or the last one of its prompt."""
        ...

    def room(self, prompts: Sequence[Ids]) -> int:
        """Most pieces that the replies can have: the model has no positions for more."""
        ...

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """Final hidden states (B, H) after reading one more id per row (B,); and the new state."""
        ...

    def soft_step(self, probs: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """As `step`, after the mean embedding under `probs` (B, V) in place of an id."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, H) -> (B, V) float32."""
        ...

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        """Gradient (B, H) float32 at the hidden states, of one (B, V) at their logits."""
        ...

    def output_embedding(self) -> Tensor:
        """(V, H), what final hidden states are multiplied with to give logits."""
        ...

    def keep_rows(self, state: DecodingState, rows: Tensor) -> None:
        """Goes on with `rows` only, (B,); those of a conversation stay one behind another.

        Conversations may keep unequal numbers of rows, or none. A row may be asked for repeatedly.
        """
        ...

    def reply_states(self, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[Tensor]:
        """Final hidden states (T, H) before each piece of each reply, all read at once."""
        ...

    def past(self, state: DecodingState) -> list[tuple[Tensor, ...]]:
        """What is remembered of the pieces before, (B, ..., t, e) each, in groups of a layer."""
        ...

    def with_past(self, state: DecodingState, past: Sequence[Sequence[Tensor]]) -> DecodingState:
        """The state with other values in place of those that `past` gave."""
        ...

    def last_blocks(self, ids: Tensor, state: DecodingState, n: int) -> tuple[Tensor, Resume]:
        """What the last n blocks read in the step after ids (B,), and what goes on from there."""
        ...


def padded(rows: Sequence[Ids], pad: int, *, left: bool = False) -> tuple[Tensor, Tensor | None]:
    """Rows of ids (n, longest), padded; and their mask, True for ids, None where none is padded."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    real = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        real[number, place] = True
    return ids, None if bool(real.all()) else real
