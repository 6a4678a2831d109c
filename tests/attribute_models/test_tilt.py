"""The tilt is exact, minimal, and the same whatever stands beside a row."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attribute_models.tilt import Field, alone, limit, solve, tilt, together


def field(seed, *, rows=4, pieces=40, attributes=2, rest=0.4, certain=False):
    """Random distributions of which `rest` lies outside the support."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, pieces, generator=generator)
    log_p = logits.log_softmax(-1) + torch.log(torch.tensor(1 - rest))
    shape = (rows, attributes, pieces)
    belongs = torch.rand(shape, generator=generator) < 0.3
    chance = torch.ones(shape) if certain else torch.rand(shape, generator=generator)
    weight = 0.25 + 0.75 * torch.rand(shape, generator=generator)
    zero = torch.zeros(rows, pieces)
    return Field(log_p, chance * belongs, weight, zero)


def solved(one, wanted, active):
    zero = torch.zeros_like(wanted)
    return solve(one, wanted, zero, active)


def masses(one, log_p):
    """Expected weight under given log-probabilities when every chance is 1."""
    return torch.einsum("bs,bas->ba", log_p.exp(), one.chance * one.weight)


def test_no_price_changes_nothing():
    one = field(0)
    at = tilt(one, torch.zeros(4, 2))
    assert torch.equal(at.shift, torch.zeros(4, 40))
    assert torch.allclose(at.mass, masses(one, one.log_p))
    assert torch.allclose(at.kl, torch.zeros(4), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(0.05, 0.25), st.booleans())
def test_masses_reach_their_targets(seed, attributes, share, certain):
    one = field(seed, attributes=attributes, certain=certain)
    active = torch.ones(4, attributes, dtype=torch.bool)
    largest = (one.chance * one.weight).amax(2)
    wanted = share * largest
    price, at = solved(one, wanted, active)
    within = price.abs().amax(1) < 8.9  # the rest has to spend more than there is
    assert torch.allclose(at.mass[within], wanted[within], atol=1e-3)
    assert torch.allclose(tilt(one, price).mass, at.mass, atol=1e-6)


def test_three_budgets_at_once():
    one = field(3, attributes=3, certain=True)
    one.weight = torch.ones_like(one.weight)
    wanted = torch.tensor([[0.3, 0.2, 0.1]]).repeat(4, 1)
    _, at = solved(one, wanted, torch.ones(4, 3, dtype=torch.bool))
    assert torch.allclose(at.mass, wanted, atol=1e-3)


def test_the_order_of_attributes_does_not_matter():
    one = field(5, attributes=3)
    turned = Field(one.log_p, one.chance.flip(1), one.weight.flip(1), one.offset)
    wanted = torch.tensor([[0.15, 0.1, 0.2]]).repeat(4, 1)
    active = torch.ones(4, 3, dtype=torch.bool)
    _, at = solved(one, wanted, active)
    _, there = solved(turned, wanted.flip(1), active)
    assert torch.allclose(at.shift, there.shift, atol=2e-3)


def test_a_row_alone_is_the_row_in_a_batch():
    one = field(7)
    wanted = torch.tensor([[0.1, 0.2], [0.3, 0.05], [0.02, 0.02], [0.25, 0.25]])
    active = torch.ones(4, 2, dtype=torch.bool)
    price, _ = solved(one, wanted, active)
    for row in range(4):
        at = torch.tensor([row])
        alone, _ = solved(one.rows(at), wanted[at], active[at])
        assert torch.allclose(alone[0], price[row], atol=1e-4)


def test_an_inactive_attribute_keeps_its_price_of_zero():
    one = field(8)
    active = torch.tensor([[True, False]] * 4)
    price, at = solved(one, torch.full((4, 2), 0.2), active)
    assert torch.equal(price[:, 1], torch.zeros(4))
    assert torch.allclose(at.mass[:, 0], torch.full((4,), 0.2), atol=1e-3)


def test_the_tilt_is_the_nearest_distribution_of_that_mass():
    one = field(9, attributes=1, certain=True)
    _price, at = solved(one, torch.full((4, 1), 0.3), torch.ones(4, 1).bool())
    feature = (one.chance * one.weight)[:, 0]
    p = one.log_p.exp()
    best = p * at.shift.exp() / at.log_z.exp()[:, None]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # another one on the support, of the same sum and mass
        noise = torch.randn(4, 40, generator=generator)
        basis = torch.stack([torch.ones(4, 40), feature], dim=2)
        fitted = torch.linalg.lstsq(basis, noise[:, :, None]).solution
        other = best + 1e-4 * (noise - (basis @ fitted).squeeze(2)) * best.min()
        rest = 1 - p.sum(1)
        kl = (other * (other / p).log()).sum(1) + rest / at.log_z.exp() * -at.log_z
        assert (kl >= at.kl - 1e-6).all()


def test_a_first_piece_is_raised_as_its_words_deserve():
    # Two pieces; the first goes on to a word of the bag with chance 0.3, to others with 0.7.
    p, chance, price = torch.tensor([0.2, 0.8]), 0.3, 2.0
    outcomes = torch.tensor([0.2 * 0.3, 0.2 * 0.7, 0.8])
    raised = outcomes * torch.tensor([price, 0.0, 0.0]).exp()
    raised = raised / raised.sum()
    one = Field(
        p[:1].log()[None], torch.full((1, 1, 1), chance), torch.ones(1, 1, 1), torch.zeros(1, 1)
    )
    at = tilt(one, torch.full((1, 1), price))
    first = 0.2 * at.shift.exp() / at.log_z.exp()
    assert first.item() == pytest.approx(float(raised[0] + raised[1]), abs=1e-6)
    assert at.mass.item() == pytest.approx(float(raised[0]), abs=1e-6)


def test_the_mass_that_a_price_buys_alone():
    one = field(10, attributes=3)
    price = torch.tensor([[1.0, -2.0, 3.0]]).repeat(4, 1)
    bought = alone(one, price)
    for column in range(3):
        only = torch.zeros_like(price)
        only[:, column] = price[:, column]
        assert torch.allclose(bought[:, column], tilt(one, only).mass[:, column], atol=1e-6)


def test_the_guess_is_exact_for_bags_apart():
    log_p = torch.randn(4, 30, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    chance = torch.zeros(4, 3, 30)
    for bag in range(3):
        chance[:, bag, 5 * bag : 5 * bag + 5] = 1.0
    one = Field(log_p, chance, torch.ones(4, 3, 30), torch.zeros(4, 30))
    before = masses(one, log_p)
    wanted, active = torch.tensor([[0.3, 0.25, 0.2]]).repeat(4, 1), torch.ones(4, 3).bool()
    price = wanted.logit() - before.logit()
    assert torch.allclose(alone(one, price), wanted, atol=1e-5)
    assert torch.allclose(
        tilt(one, together(price, before, wanted, active)).mass, wanted, atol=1e-5
    )


def test_mass_and_cost_grow_with_the_price():
    one = field(11, attributes=1)
    found = [tilt(one, torch.full((4, 1), price)) for price in (-4.0, -1.0, 0.0, 1.0, 4.0, 8.0)]
    for less, more in itertools.pairwise(found):
        assert (more.mass > less.mass).all()
    assert all((at.kl >= -1e-6).all() for at in found)


def test_the_covariance_is_the_slope_of_the_masses():
    one = field(12)
    price = torch.tensor([[0.5, -0.3]]).repeat(4, 1).requires_grad_()
    at = tilt(one, price)
    for column in range(2):
        slope = torch.autograd.grad(at.mass[:, column].sum(), price, retain_graph=True)[0]
        assert torch.allclose(slope, at.covariance[:, column], atol=1e-5)
    slope = torch.autograd.grad(at.log_z.sum(), price)[0]
    assert torch.allclose(slope, at.mass, atol=1e-5)


def test_the_limit_holds_and_leaves_cheap_rows_alone():
    one = field(13)
    price = torch.tensor([[8.0, 0.0], [0.1, 0.0], [0.0, 6.0], [3.0, 3.0]])
    free = tilt(one, price)
    most = torch.tensor([0.5, 0.5, 0.2, 100.0])
    scale, at = limit(one, price, tilt(one, price), most)
    assert (at.kl <= most + 1e-5).all()
    assert scale[1] == scale[3] == 1
    assert torch.equal(at.shift[1], free.shift[1])
    assert at.kl[0] > 0.45  # as much as is allowed, not less
    assert torch.allclose(tilt(one, price, scale).shift, at.shift)


def test_fusion_is_the_geometric_mean():
    one = field(14, certain=True)
    price = torch.tensor([[1.0, 2.0]]).repeat(4, 1)
    steered = one.log_p + tilt(one, price).shift
    fused = one.log_p + tilt(one, 0.6 * price).shift
    assert torch.allclose(fused, 0.6 * steered + 0.4 * one.log_p, atol=1e-5)
