"""Pushes the rows of a batch towards what learned heads know replies of a label to say.

The shift of a head (`attribute_models.heads`) is added to the logits with the push of each row.
Two things keep the reply in one piece:

- *Plausible pieces only.* A piece that the clean distribution holds for less than `LEAST_ODDS`
  times its likeliest one is never raised: a head that learned from fifty thousand replies is wrong
  about rare pieces oftener than the generator (the constraint of contrastive decoding, Li et al.
  2023, arXiv 2210.15097).
- *A limit.* No piece moves further from the clean distribution than the limit of the controls.

Knows tensors only.

Shapes: `B` rows, `H` hidden size, `K` labels of a family, `V` pieces.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attribute_models.heads import Heads

LEAST_ODDS = 3e-3

_ROUNDS = 4


class Pushes:
    """What is pushed in one batch; follows its rows as they end and leave."""

    def __init__(
        self,
        heads: Sequence[Heads],
        pushes: Sequence[Tensor],
        is_on: Tensor,
        heat: Tensor,
        output: Tensor,
        *,
        temperature: float,
        limit: Tensor,
    ):
        """Prepares the pushes of a batch.

        Args:
            pushes: for each family (B, K), towards each label.
            is_on: (B,) bool, rows of which anything is asked.
            heat: (B,) what the logits of each row were divided by beforehand.
            output: (V, H) output embedding.
            limit: (B,) most KL divergence from the clean distribution, nats a piece.
        """
        self.heads, self.pushes = list(heads), list(pushes)
        self._is_on, self._heat, self._limit = is_on.clone(), heat, limit
        self._output, self._temperature = output, temperature

    def active(self) -> bool:
        """Whether any row is still pushed."""
        return bool(self._is_on.any())

    def end(self, row: int) -> None:
        """The row is done: it is left alone from now on."""
        self._is_on[row] = False

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Goes on with `rows` only."""
        index = torch.tensor(rows, device=self._heat.device)
        self.pushes = [one[index] for one in self.pushes]
        self._heat, self._limit = self._heat[index], self._limit[index]
        self._is_on = self._is_on[index]

    def move(self, logits: Tensor, clean: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Pushes the rows that ask for it.

        Args:
            logits: (B, V), divided by the heat; changed in place. Words of lists may have moved
                them before.
            clean: (B, V), untouched.
            hidden: (B, H) final hidden states.

        Returns:
            The rows pushed, and the divergence of each from the clean distribution, nats. A row
            whose logits are not finite is left as it was.
        """
        rows = self._is_on.nonzero().squeeze(1)
        start, now, states = clean[rows], logits[rows], hidden[rows]
        change = torch.zeros_like(start)
        for heads, pushes in zip(self.heads, self.pushes, strict=True):
            change += heads.shift(states, pushes[rows], self._output)
        is_rare = start < start.amax(1, keepdim=True) + math.log(LEAST_ODDS)
        change = torch.where(is_rare, change.clamp(max=0), change)
        limited, kl = within(
            start, now + change / self._heat[rows, None], self._limit[rows], self._temperature
        )
        fine = kl.isfinite() & change.isfinite().all(1)
        logits[rows[fine]] = limited[fine]
        return rows[fine], kl[fine]


def within(
    clean: Tensor, steered: Tensor, limit: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The steered logits (B, V), drawn back towards the clean ones where they are too far.

    Args:
        limit: (B,) most KL(steered || clean), nats.
        temperature: both are drawn at.

    Returns:
        Logits (B, V) and their divergence (B,), at most the limit.
    """
    log_p = (clean / temperature).log_softmax(-1)
    kl = _divergence(steered, log_p, temperature)
    far = (kl > limit).nonzero().squeeze(1)
    if not len(far):
        return steered, kl
    start, change = clean[far], (steered - clean)[far].nan_to_num(0.0, 0.0, 0.0)
    low, high = torch.zeros_like(kl[far]), torch.ones_like(kl[far])
    share = (limit[far] / kl[far]).sqrt()  # the divergence grows about as the square of the share
    for _ in range(_ROUNDS):
        spent = _divergence(start + share[:, None] * change, log_p[far], temperature)
        fits = spent <= limit[far]
        low, high = torch.where(fits, share, low), torch.where(fits, high, share)
        share = (low + high) / 2
    steered[far] = start + low[:, None] * change
    kl[far] = _divergence(steered[far], log_p[far], temperature)
    return steered, kl


def _divergence(logits: Tensor, log_p: Tensor, temperature: float) -> Tensor:
    """KL(softmax(logits / temperature) || p) in nats, (B,); pieces ruled out in both count as 0."""
    log_q = (logits / temperature).log_softmax(-1)
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0.0).sum(1)
