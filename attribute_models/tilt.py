"""Moves probability onto wanted outcomes with the least change, measured in KL divergence.

Each piece v of a row brings outcome a with chance c[v, a]; the outcome has weight w[v, a]. The
distribution closest to p under which the outcomes have given masses is p tilted by a price
x[a] per attribute,

    p'(v) ~ p(v) * prod_a F(v, a),    F(v, a) = 1 + c[v, a] * (exp(w[v, a] * x[a]) - 1).

F is the mean of exp(w x) over whether the outcome happens, so this is the closest distribution
over (piece, outcomes): a first piece of a long word is raised by as much as the word deserves.
Where all chances are 1 it is p' ~ p exp(phi x). The masses are the gradient of log Z(x), a convex
function, so prices that reach given masses come from Newton's method on A unknowns.

Only pieces of the support are held; all others keep their proportions. Knows no words.

Shapes: `B` rows, `S` pieces of the support, `A` attributes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_PRICE = 9.0
"""Prices stay within this: odds times 8,000. A mass out of reach is reported, not forced."""

_ITERATIONS = 24
_MAX_STEP = 2.0


@dataclass(slots=True)
class Field:
    """What a tilt works on.

    Attributes:
        log_p: (B, S) of the support's pieces.
        chance: (B, A, S) from 0 to 1.
        weight: (B, A, S) from 0 to 1.
        offset: (B, S) added to the logits whatever the prices are.
    """

    log_p: Tensor
    chance: Tensor
    weight: Tensor
    offset: Tensor

    def rows(self, index: Tensor) -> "Field":
        """The field of some of the rows."""
        return Field(self.log_p[index], self.chance[index], self.weight[index], self.offset[index])


@dataclass(slots=True)
class Tilted:
    """A distribution after the tilt.

    Attributes:
        shift: (B, S) added to the logits of the support.
        mass: (B, A) expected weight of each attribute.
        kl: (B,) divergence from the distribution before, in nats.
        log_z: (B,) log of the normaliser.
        covariance: (B, A, A) of the attributes' weights.
    """

    shift: Tensor
    mass: Tensor
    kl: Tensor
    log_z: Tensor
    covariance: Tensor


def tilt(field: Field, price: Tensor, scale: Tensor | None = None) -> Tilted:
    """The distribution at given prices (B, A); `scale` (B,) shrinks prices and offset alike."""
    offset = field.offset
    if scale is not None:
        price, offset = price * scale[:, None], offset * scale[:, None]
    raised, factor = _factors(field, price)
    shift = factor.log().sum(1) + offset  # (B, S)
    p = field.log_p.exp()
    pulled = p * shift.exp()
    z = (1 - p.sum(1)).clamp_min(0) + pulled.sum(1)
    tilted = pulled / z[:, None]  # (B, S)
    value = raised / factor * field.weight  # (B, A, S), once the piece is drawn
    mass = (value @ tilted[:, :, None]).squeeze(2)
    within = (value * (field.weight - value)) @ tilted[:, :, None]  # (B, A, 1)
    second = (value * tilted[:, None, :]) @ value.transpose(1, 2)  # (B, A, A)
    covariance = second - mass[:, :, None] * mass[:, None, :] + torch.diag_embed(within.squeeze(2))
    log_z = z.log()
    return Tilted(shift, mass, (tilted * shift).sum(1) - log_z, log_z, covariance)


def alone(field: Field, price: Tensor) -> Tensor:
    """The mass (B, A) of each attribute if it were the only one that is tilted."""
    raised, factor = _factors(field, price)
    p = field.log_p.exp()[:, None, :]
    rest = (1 - p.sum(2)).clamp_min(0)  # (B, 1)
    pulled = p * field.offset.exp()[:, None, :]
    return (pulled * raised * field.weight).sum(2) / (rest + (pulled * factor).sum(2))


def together(price: Tensor, before: Tensor, wanted: Tensor, active: Tensor) -> Tensor:
    """A guess of the prices (B, A) that buy together what each of `price` buys alone.

    Exact where no piece is of two attributes and all chances and weights are 1: the price alone
    is logit(wanted) - logit(before), together it is log(wanted / before) less the log of what the
    pieces outside lose.
    """
    kept = torch.log1p(-wanted) - torch.log1p(-before)
    outside = torch.log1p(-(wanted * active).sum(1)) - torch.log1p(-(before * active).sum(1))
    guess = price + (kept - outside[:, None]) * active
    return torch.where(guess.isfinite(), guess, price).clamp(-MAX_PRICE, MAX_PRICE)


def solve(
    field: Field, wanted: Tensor, price: Tensor, active: Tensor, *, tolerance: float = 1e-3
) -> tuple[Tensor, Tilted]:
    """Prices under which every active attribute has its wanted mass, all of them together.

    Args:
        wanted: (B, A) masses.
        price: (B, A) to begin with; stays 0 where an attribute is not active.
        active: (B, A) bool.
        tolerance: by which a mass may be missed.

    Returns:
        The prices (B, A) and the distribution; a mass out of reach keeps the nearest price.
    """
    at = tilt(field, price)
    step = _newton_step(at, wanted, active)
    for _ in range(_ITERATIONS):
        miss = ((wanted - at.mass) * active).abs().amax(1)  # (B,)
        is_open = (miss > tolerance) & (step.abs().amax(1) > 1e-5)
        if not is_open.any():
            break
        trial = (price + step).clamp(-MAX_PRICE, MAX_PRICE)
        there = tilt(field, trial)
        gain = ((trial - price) * wanted).sum(1) - (there.log_z - at.log_z)
        better = (gain >= -1e-6) & is_open  # the dual is concave: a step too far loses
        price = torch.where(better[:, None], trial, price)
        at = _choose(better, there, at)
        step = torch.where(better[:, None], _newton_step(at, wanted, active), step / 2)
    return price, at


def limit(field: Field, price: Tensor, at: Tilted, most: Tensor) -> tuple[Tensor, Tilted]:
    """Shrinks the tilt of rows that cost more than `most` (B,) nats of KL divergence to that cost.

    Returns:
        The scale (B,) of prices and offset, 1 where nothing was to be done, and the distribution.
    """
    scale = torch.ones_like(at.kl)
    over = (at.kl > most).nonzero().squeeze(1)
    if not len(over):
        return scale, at
    part, prices = field.rows(over), price[over]
    low, high = torch.zeros_like(scale[over]), torch.ones_like(scale[over])
    for _ in range(7):  # KL grows with the scale: along a ray it is convex with its least at 0
        middle = (low + high) / 2
        fits = tilt(part, prices, middle).kl <= most[over]
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    scale[over] = low
    within = tilt(part, prices, low)
    for name in ("shift", "mass", "kl", "log_z", "covariance"):
        whole = getattr(at, name).clone()
        whole[over] = getattr(within, name)
        setattr(at, name, whole)
    return scale, at


def _factors(field: Field, price: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms c exp(w x) and F, (B, A, S) each."""
    raised = field.chance * (field.weight * price[:, :, None]).exp()
    return raised, raised + (1 - field.chance)


def _newton_step(at: Tilted, wanted: Tensor, active: Tensor) -> Tensor:
    """(B, A); 0 for what is not active, at most `_MAX_STEP` in any direction."""
    both = active[:, :, None] & active[:, None, :]
    matrix = at.covariance.where(both, torch.zeros((), device=wanted.device))
    diagonal = torch.where(active, 1e-8, 1.0)
    step = torch.linalg.solve(
        matrix + torch.diag_embed(diagonal), ((wanted - at.mass) * active)[:, :, None]
    ).squeeze(2)
    return step * (_MAX_STEP / step.abs().amax(1, keepdim=True).clamp_min(_MAX_STEP))


def _choose(rows: Tensor, one: Tilted, other: Tilted) -> Tilted:
    """The first where `rows` (B,) is true, else the second."""
    if rows.all():
        return one

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b)

    return Tilted(
        pick(one.shift, other.shift),
        pick(one.mass, other.mass),
        pick(one.kl, other.kl),
        pick(one.log_z, other.log_z),
        pick(one.covariance, other.covariance),
    )
