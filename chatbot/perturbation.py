"""Steering by gradients: moves what the decoder computes until attributes are likelier.

For every piece, as in PPLM (Dathathri et al. 2020, "Plug and Play Language Models"): a clean step,
then some steps up the gradient of

    sum over attributes of weight * log p(attribute)  -  kl_scale * KL(steered || clean)

with respect to the moves of a lever (`chatbot.levers`), then one step with the moves made, whose
distribution is joined with the clean one by a geometric mean. What differs from the published code:

- *The moves last for one piece.* The cache keeps the clean values, so that the clean step of the
  next piece comes from the cache and is the first iteration's forward pass as well: m iterations
  cost 2m + 1 passes. The published code carries the moved past on and reads the whole text anew
  for every clean step. The steered reply then also stays within reach of the clean model, as moves
  do not add up.
- *Rows never meet.* Losses, norms and fallbacks are of a row; candidates are decoded in a batch.
- *The window holds the newest positions*, where the published mask kept the oldest.
- *The strength is the length of the step.* A normalised gradient forgets the size of its weight.
- *The horizon moves on.* Each soft piece is read behind the last one, on the moved past, and the
  gradient goes through all of it.

Shapes: `B` rows, `H` hidden size, `V` pieces, `P` pulls, `M` numbers of a row that can be moved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from attribute_models.base import AttributeModel
from chatbot.backbone import Backbone, DecodingState
from chatbot.controls import GradientSettings
from chatbot.levers import BlocksLever, Lever, PastLever

_LEVERS: dict[str, Callable[[Backbone, Tensor, DecodingState, GradientSettings], Lever]] = {
    "layers": BlocksLever,
    "pplm": PastLever,
}

_TINY = 1e-15
"""Added to norms, as in the published code: a gradient of zero moves nothing."""

_ROUNDS = 5
"""Of the search for the share of a move that is within the limit."""

GradientMode: TypeAlias = Literal["layers", "pplm"]


@runtime_checkable
class ReadsLogits(Protocol):
    """An attribute model that needs only the logits, which a step has already: a bag of words."""

    def score_logits(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """As `AttributeModel.score`, of logits (B, V)."""
        ...


@dataclass(frozen=True, slots=True)
class Pull:
    """What one attribute is asked of the rows of the batch, for the modes that follow gradients.

    Attributes:
        weight: (B,) strength; 0 for rows that do not ask, negative for away from it.
        wanted: (B,) probability of showing it, `AttributeModel.score`'s second argument.
    """

    model: AttributeModel
    weight: Tensor
    wanted: Tensor


@dataclass(frozen=True, slots=True)
class Moved:
    """What one step did to the rows.

    Attributes:
        before, after: (P, B) log-likelihood of every pull, of the clean state and the moved one.
        kl: (B,) divergence of the drawn-from distribution from the clean one, nats.
        is_steered: (B,) False where nothing was asked, or the gate was closed, or it fell back.
        fell_back: (B,) True where gradients or logits were not finite, so that the clean step was
            taken.
    """

    before: Tensor
    after: Tensor
    kl: Tensor
    is_steered: Tensor
    fell_back: Tensor


class Perturbation:
    """Decoder steps steered by gradients; belongs to one call of `chatbot.decoding.draw`."""

    def __init__(
        self,
        backbone: Backbone,
        settings: GradientSettings,
        pulls: Callable[[], "Sequence[Pull]"],
        *,
        mode: GradientMode,
        fusion: float = 1.0,
        kl_limit: float = float("inf"),
        note: Callable[[Moved], None] | None = None,
    ):
        """Prepares the steps of a batch.

        Args:
            pulls: what is asked of the rows of the batch at this moment.
            fusion: weight of the steered distribution in its geometric mean with the clean one.
            kl_limit: no piece is steered further from the clean distribution than this, in nats.
            note: called after every step of which something was asked.
        """
        self._backbone, self._settings, self._pulls = backbone, settings, pulls
        self._mode: GradientMode = mode
        self._fusion, self._kl_limit, self._note = fusion, kl_limit, note

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, Tensor, DecodingState]:
        """One step of the decoder after ids (B,).

        Returns:
            Clean logits (B, V), steered logits (B, V), both float32, and the clean state. Rows of
            which nothing is asked have the same logits in both, bit for bit.
        """
        pulls = [pull for pull in self._pulls() if bool((pull.weight != 0).any())]
        if not pulls:
            return self._clean(ids, state)
        with torch.inference_mode(False), torch.no_grad():
            # A copy made here can be part of a graph, whatever mode the pulls were made in.
            weights = torch.stack([pull.weight.float().clone() for pull in pulls])  # (P, B)
            lever = _LEVERS[self._mode](self._backbone, ids, state, self._settings)
            if not lever.groups:
                return self._clean(ids, state)
            ascent = _Ascent(self._backbone, self._settings, lever, pulls, weights)
            moves, is_steered, fell_back = ascent.climb()
            clean, steered, after = ascent.clean, ascent.clean.clone(), ascent.before
            kl = torch.zeros_like(weights[0])
            if bool(is_steered.any()):
                hidden, behind = lever.run(moves)
                logits = self._backbone.logits(hidden)
                bad = is_steered & ~logits.isfinite().all(1)
                is_steered, fell_back = is_steered & ~bad, fell_back | bad
                logits = torch.where(is_steered[:, None], logits, clean)
                steered, kl = fuse(clean, logits, self._fusion, self._kl_limit)
                if self._note is not None:
                    after = ascent.scores([hidden, *ascent.ahead(hidden, behind)], logits)
            if self._note is not None:
                self._note(Moved(ascent.before, after, kl, is_steered, fell_back))
        return clean, steered, ascent.state

    def _clean(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, Tensor, DecodingState]:
        hidden, state = self._backbone.step(ids, state)
        clean = self._backbone.logits(hidden)
        return clean, clean.clone(), state


class _Ascent:
    """The climb of one step: from the clean state to the moves of every row."""

    clean: Tensor  # (B, V) logits
    before: Tensor  # (P, B)
    state: DecodingState

    def __init__(
        self,
        backbone: Backbone,
        settings: GradientSettings,
        lever: Lever,
        pulls: "Sequence[Pull]",
        weights: Tensor,
    ):
        self._backbone, self._settings, self._lever, self._pulls = backbone, settings, lever, pulls
        # So long that each of several pulls at right angles has a step of its own weight.
        self._strength = weights.norm(dim=0)  # (B,)
        self._weights = weights / self._strength.clamp_min(_TINY)
        self._wanted = [pull.wanted.float().clone() for pull in pulls]
        self._horizon = settings.horizon if any(map(_looks_ahead, pulls)) else 0

    def climb(self) -> tuple[Tensor, Tensor, Tensor]:
        """Moves (B, M), which rows are steered (B,) and which fell back (B,)."""
        n_rows, lever = len(self._strength), self._lever
        moves = self._strength.new_zeros(n_rows, sum(lever.groups))
        for iteration in range(self._settings.iterations):
            with torch.enable_grad():
                moves = moves.detach().requires_grad_()
                hidden, state = lever.run(moves)
                states = [hidden, *self.ahead(hidden, state)]
            logits = self._backbone.logits(hidden.detach())
            if iteration == 0:
                self.clean, self.state = logits, state.detached()
            forces, scores = self._forces(
                [one.detach() for one in states], logits, is_first=iteration == 0
            )
            if iteration == 0:
                self.before = scores
                steered = asked = self._asked(scores)
                if not bool(asked.any()):
                    return moves.detach(), asked, torch.zeros_like(asked)
            fine = steered & torch.stack([force.isfinite().all(1) for force in forces]).all(0)
            pulled = [
                torch.where(fine[:, None], force, 0.0).to(one.dtype)
                for one, force in zip(states, forces, strict=True)
            ]
            (gradient,) = torch.autograd.grad(states, moves, pulled)
            moves = moves.detach() + self._step(gradient)
            steered = fine & moves.isfinite().all(1)
            moves = torch.where(steered[:, None], moves, 0.0)
        return moves, steered, asked & ~steered

    def _asked(self, scores: Tensor) -> Tensor:
        """Rows (B,) whose gate is open: one of their attributes is not yet as likely as wanted."""
        is_open = ~(scores.exp() >= self._settings.gate)  # also where there is no score
        return ((self._weights != 0) & (is_open | (self._weights < 0))).any(0)

    def ahead(self, hidden: Tensor, state: DecodingState) -> list[Tensor]:
        """Hidden states (B, H) behind soft pieces: means of what may come, one after another."""
        states: list[Tensor] = []
        for _ in range(self._horizon):
            probs = self._backbone.logits(hidden).softmax(-1)
            hidden, state = self._backbone.soft_step(probs, state)
            states.append(hidden)
        return states

    def scores(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Of every pull, (P, B).

        Args:
            states: (B, H) each: the one before the piece, which bags score, and those behind soft
                pieces. Other models score the mean of all, as the published classifier does.
            logits: (B, V) of the first state.
        """
        mean = torch.stack(states).mean(0) if len(states) > 1 else states[0]
        scores = []
        for pull, wanted in zip(self._pulls, self._wanted, strict=True):
            if isinstance(pull.model, ReadsLogits):
                scores.append(pull.model.score_logits(logits, wanted))
            else:
                read = mean if _looks_ahead(pull) else states[0]
                scores.append(pull.model.score(read, wanted))
        return torch.stack(scores)

    def _forces(
        self, states: list[Tensor], logits: Tensor, *, is_first: bool
    ) -> tuple[list[Tensor], Tensor]:
        """What pulls each of the hidden states (B, H), and the scores (P, B)."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            leaves = [one.float().requires_grad_() for one in states]
            scores = self.scores(leaves, leaf)
            total = (self._weights * scores).sum()
        slope, *forces = torch.autograd.grad(total, [leaf, *leaves], materialize_grads=True)
        # At the first iteration the two distributions are one, and the divergence has no slope.
        if self._settings.kl_scale and not is_first:
            slope = slope - self._settings.kl_scale * divergence_slope(logits, self.clean)
        if bool(slope.any()):
            forces[0] = forces[0] + self._backbone.slope(slope, logits)
        return forces, scores.detach()

    def _step(self, gradient: Tensor) -> Tensor:
        """A step (B, M) up the gradient (B, M), each group of each row normalised by itself."""
        gradient = gradient * self._lever.share
        steps = []
        for part in gradient.split(list(self._lever.groups), dim=1):
            norm = part.norm(dim=1, keepdim=True) + _TINY
            steps.append(part / norm**self._settings.gamma)
        length = self._settings.step_size * self._strength[:, None] * self._lever.unit
        return length * torch.cat(steps, dim=1)


def _looks_ahead(pull: Pull) -> bool:
    """Bags of words speak of the next piece, other models of what the reply will be."""
    return pull.model.spec.kind != "bag"


def fuse(clean: Tensor, steered: Tensor, fusion: float, kl_limit: float) -> tuple[Tensor, Tensor]:
    """The geometric mean steered^g clean^(1-g), g lowered where it is too far from clean.

    Args:
        clean, steered: (B, V) logits.
        fusion: g, from 0 (clean) to 1 (steered).
        kl_limit: most of KL(mean || clean), nats.

    Returns:
        Logits (B, V) and the divergence (B,).
    """
    fused = torch.lerp(clean, steered, fusion)
    kl = divergence(fused, clean)
    far = (kl > kl_limit).nonzero().squeeze(1)
    if len(far):
        start, end = clean[far], fused[far]
        low, high = torch.zeros_like(kl[far]), torch.ones_like(kl[far])
        share = (kl_limit / kl[far]).sqrt()  # the divergence grows about as the square of it
        for _ in range(_ROUNDS):
            too_far = divergence(torch.lerp(start, end, share[:, None]), start) > kl_limit
            low, high = torch.where(too_far, low, share), torch.where(too_far, share, high)
            share = (low + high) / 2
        fused[far] = torch.lerp(start, end, low[:, None])
        kl[far] = divergence(fused[far], start)
    return fused, kl


def divergence(steered: Tensor, clean: Tensor) -> Tensor:
    """KL(steered || clean) in nats (B,), of logits (B, V)."""
    log_probs = steered.log_softmax(-1)
    return (log_probs.exp() * (log_probs - clean.log_softmax(-1))).sum(1).clamp_min(0)


def divergence_slope(steered: Tensor, clean: Tensor) -> Tensor:
    """Gradient (B, V) of `divergence` with respect to the steered logits: p~ (log p~/p - KL)."""
    log_probs = steered.log_softmax(-1)
    probs, gain = log_probs.exp(), log_probs - clean.log_softmax(-1)
    return probs * (gain - (probs * gain).sum(1, keepdim=True))
