"""A rate curve says what a price buys, and what price buys a rate."""

import pytest
import torch

from attribute_models.calibration import PRICES, RateCurve


@pytest.fixture
def curve():
    generator = torch.Generator().manual_seed(0)
    log_p = (3 * torch.randn(30, 50, generator=generator)).log_softmax(-1)[:, :20]
    chance = torch.rand(30, 20, generator=generator)
    return RateCurve.measure(log_p, chance, torch.ones(30, 20))


def test_rates_grow_with_the_price(curve):
    assert list(curve.rates) == sorted(curve.rates)
    assert len(curve.rates) == len(PRICES)


@pytest.mark.parametrize("price", [0.0, 0.6, 2.25, 5.0])
def test_the_price_of_a_rate_is_found_again(curve, price):
    below = int(price * 4)
    share = price * 4 - below
    rate = curve.rates[below] * (1 - share) + curve.rates[below + 1] * share
    assert curve.price(rate) == pytest.approx(price, abs=1e-6)


def test_the_untouched_rate_is_free_and_the_impossible_costs_the_most(curve):
    assert curve.price(curve.clean) == 0
    assert curve.price(curve.clean / 2) == 0
    assert curve.price(2.0) == PRICES[-1]
