"""Pushes the rows of a batch towards what learned heads know replies of a label to say.

The shift of a head (`attribute_models.heads`) is added to the logits with the push of each row.
Two things keep the reply in one piece:

- *Plausible pieces only.* A piece that the clean distribution of a row holds for less than
  `LEAST_ODDS` times its likeliest one is left alone, or only lowered where a list has moved it: a
  head that learned from fifty thousand replies is wrong about rare pieces oftener than the
  generator (the constraint of contrastive decoding, Li et al. 2023, arXiv 2210.15097). What other
  rows of the batch hold for plausible does not count.
- *A limit.* What lists and heads do together to a piece stays within the limit of the controls.

Knows tensors only.

Shapes: `B` rows, `H` hidden size, `K` labels of a family, `V` pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribute_models.heads import Heads

LEAST_ODDS = 3e-3

_ROUNDS = 4

_ROUNDING = 1e-5
"""A logit that the lists changed by less is as it was: pieces of lists that only others ask for."""


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

    def move(self, step: "Step", hidden: Tensor, tilted: Tensor) -> tuple[Tensor, Tensor]:
        """Pushes the rows that ask for it.

        Args:
            step: the logits of the step, which are changed in place.
            hidden: (B, H) final hidden states.
            tilted: ids of the pieces that the lists have moved.

        Returns:
            Which rows were pushed (B,), and the divergence (B,) of each from where it began, nats.
            A row whose state is no number is left as it was.
        """
        base, now = step.base, step.logits
        least = base.amax(1, keepdim=True) + math.log(LEAST_ODDS)
        used = (base >= least).any(0)
        used[tilted] = True
        columns = used.nonzero().squeeze(1)  # those that any row needs
        start = base[:, columns]
        is_moved = (now[:, columns] - start).abs() > _ROUNDING
        is_own = (start >= least) | is_moved  # all others keep their proportions
        change = torch.zeros_like(start)
        for heads, pushes in zip(self.heads, self.pushes, strict=True):
            change += heads.shift(hidden, pushes, self._output, columns)
        change = torch.where(start < least, change.clamp(max=0), change) / self._heat[:, None]
        change = torch.where(is_own, change, 0.0)
        fine = self._is_on & change.isfinite().all(1) & step.norm.isfinite()
        wanted = (now[:, columns] - start + change) / self._temperature
        wanted = torch.where(start.isfinite() & fine[:, None], wanted, 0.0)
        log_p = start / self._temperature - step.norm[:, None]
        share, kl, log_z = within(log_p, wanted, self._limit)
        moved = start + self._temperature * share[:, None] * wanted
        now[:, columns] = torch.where(fine[:, None], moved, now[:, columns])
        step.log_z = torch.where(fine, log_z, step.log_z)
        return fine, kl


@dataclass(slots=True)
class Step:
    """The logits of one step of the decoder while they are steered.

    Attributes:
        base: (B, V) before, at the temperature of each row.
        logits: (B, V) now.
        norm: (B,) log of the normaliser of `base` at the temperature of the draw.
        log_z: (B,) log of what the normaliser has been multiplied with since.
    """

    base: Tensor
    logits: Tensor
    norm: Tensor
    log_z: Tensor


def within(log_p: Tensor, shift: Tensor, limit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How much of a shift fits into a limit of the divergence.

    Args:
        log_p: (B, U) log-probabilities of some pieces; the others share what is left.
        shift: (B, U) added to them.
        limit: (B,) most KL(shifted || p), nats.

    Returns:
        The share (B,) of the shift, from 0 to 1, its divergence (B,) and log normaliser (B,).
    """
    share = torch.ones_like(limit)
    kl, log_z = _divergence(log_p, shift)
    far = (kl > limit).nonzero().squeeze(1)
    if not len(far):
        return share, kl, log_z
    low, high = torch.zeros_like(limit[far]), torch.ones_like(limit[far])
    guess = (limit[far] / kl[far]).sqrt()  # the divergence grows about as the square of the share
    for _ in range(_ROUNDS):
        spent, _ = _divergence(log_p[far], guess[:, None] * shift[far])
        fits = spent <= limit[far]
        low, high = torch.where(fits, guess, low), torch.where(fits, high, guess)
        guess = (low + high) / 2
    share[far] = low
    kl[far], log_z[far] = _divergence(log_p[far], low[:, None] * shift[far])
    return share, kl, log_z


def _divergence(log_p: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """KL in nats (B,) of p shifted from p, and the log normaliser (B,)."""
    p = log_p.exp()
    rest = (1 - p.sum(1)).clamp_min(0)
    log_q = log_p + shift
    log_z = torch.logaddexp(rest.log(), log_q.logsumexp(1))
    q = (log_q - log_z[:, None]).exp()
    return (q * shift).sum(1) - log_z, log_z
