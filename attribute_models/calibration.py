"""What a price buys: the use of a bag's words per piece, measured on replies of the generator.

With it a strength means the same for every attribute, common or rare. Knows no strengths.

Shapes: `n` positions of the measured replies, `S` pieces of the bag.
"""

from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

from attribute_models.tilt import MAX_PRICE, Field, tilt

PRICES = tuple(step / 4 for step in range(int(MAX_PRICE * 4) + 1))


@dataclass(frozen=True, slots=True)
class RateCurve:
    """Expected weight of words per piece at each of `PRICES`; it grows with the price.

    Attributes:
        rates: the first is that of the untouched generator.
    """

    rates: tuple[float, ...]

    @classmethod
    def measure(cls, log_p: Tensor, chance: Tensor, weight: Tensor) -> "RateCurve":
        """From (n, S) log-probabilities and features at the positions of some replies."""
        field = Field(log_p, chance[:, None], weight[:, None], torch.zeros_like(log_p))
        ones = torch.ones(len(log_p), 1, device=log_p.device)
        return cls(tuple(float(tilt(field, price * ones).mass.mean()) for price in PRICES))

    @property
    def clean(self) -> float:
        """Words per piece of the untouched generator."""
        return self.rates[0]

    def price(self, rate: float) -> float:
        """The least price that buys `rate`; the greatest there is where none does."""
        if rate <= self.rates[0]:
            return 0.0
        above = bisect_left(self.rates, rate)
        if above == len(self.rates):
            return PRICES[-1]
        low, high = self.rates[above - 1], self.rates[above]
        share = (rate - low) / (high - low)
        return PRICES[above - 1] + share * (PRICES[above] - PRICES[above - 1])
