"""From what is measured of replies to two probabilities: few numbers, few weights, signs fixed.

Each measure is put on one scale, by its mean and spread over natural dialogue, and they are
averaged. A fitted weight for each would follow the set it was fitted on; an average carries over.

Shapes: `P` pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STRONGEST = 3.0
"""Spreads from the mean beyond which a measure says no more."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured of P replies, each (P,).

    Attributes:
        near: similarity to the turn before, above that to turns elsewhere.
        match: logit of standing there, above that of standing elsewhere.
        read: logit of making sense, by the reader of pairs.
        rarity: mean idf of its three rarest words, with that of all its words.
        habit: log of how often it is said to anything.
        is_generic: 1 where it says nothing about anything.
        kept: what its faults leave of the probability, 0 to 1.
    """

    near: Floats
    match: Floats
    read: Floats
    rarity: Floats
    habit: Floats
    is_generic: Floats
    kept: Floats


@dataclass(frozen=True, slots=True)
class Judge:
    """The numbers of the scorer's card.

    Attributes:
        mean: of each measure over true and random replies of natural dialogue, half and half.
        spread: the standard deviations.
        sensible: slope and offset of the log-odds of making sense, by calibration.
        specific: the same of being specific where it makes sense.
    """

    mean: Mapping[str, float]
    spread: Mapping[str, float]
    sensible: tuple[float, float] = (1.0, 0.0)
    specific: tuple[float, float] = (1.0, 0.0)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "Judge":
        slope, offset = card["sensible"]
        slope_2, offset_2 = card["specific"]
        return cls(card["mean"], card["spread"], (slope, offset), (slope_2, offset_2))

    def to_card(self) -> dict[str, Any]:
        return asdict(self)

    def evidence(self, measures: Measures) -> tuple[Floats, Floats]:
        """For making sense, and for being specific where sense is made; each (P,)."""
        near, match, read = (self._scaled(measures, n) for n in ("near", "match", "read"))
        rarity = self._scaled(measures, "rarity")
        return (near + match + read) / 3, (near + match + rarity) / 3

    def probabilities(self, measures: Measures) -> tuple[Floats, Floats]:
        """(P,) sensible and (P,) specific, the second never above the first."""
        sense, special = self.evidence(measures)
        sensible = _sigmoid(self.sensible[0] * sense + self.sensible[1]) * measures.kept
        given = _sigmoid(self.specific[0] * special + self.specific[1])
        # What is said to anything is not specific, however well it fits.
        given = given * np.where(measures.is_generic > 0, 0.03, np.exp(-0.1 * measures.habit))
        return sensible, sensible * given

    def _scaled(self, measures: Measures, name: str) -> Floats:
        values = (getattr(measures, name) - self.mean[name]) / self.spread[name]
        return np.clip(values, -_STRONGEST, _STRONGEST)


SCALED = ("near", "match", "read", "rarity")
"""The measures that have a mean and a spread."""


def standardised(measures: Measures) -> Judge:
    """A judge that knows how the measures are spread, not yet calibrated."""
    return Judge(
        {name: round(float(getattr(measures, name).mean()), 5) for name in SCALED},
        {name: round(float(getattr(measures, name).std()), 5) for name in SCALED},
    )


def calibrated(judge: Judge, measures: Measures, sensible: Floats, specific: Floats) -> Judge:
    """The judge with slopes and offsets under which its probabilities fit labels of 0 to 1.

    Two numbers a question, after Platt; the slopes cannot become negative.
    """
    from scipy.optimize import minimize

    def losses(numbers: Sequence[float]) -> float:
        a, b, c, d = numbers
        guess = Judge(judge.mean, judge.spread, (float(np.exp(a)), b), (float(np.exp(c)), d))
        made = guess.probabilities(measures)
        loss = sum(_cross_entropy(p, y) for p, y in zip(made, (sensible, specific), strict=True))
        return loss + 0.01 * (a**2 + c**2 + 0.1 * (b**2 + d**2))

    a, b, c, d = minimize(losses, np.zeros(4), method="Nelder-Mead").x
    return Judge(
        judge.mean, judge.spread,
        (round(float(np.exp(a)), 4), round(float(b), 4)),
        (round(float(np.exp(c)), 4), round(float(d), 4)),
    )  # fmt: skip


def _cross_entropy(probability: Floats, label: Floats) -> float:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return float(-(label * np.log(p) + (1 - label) * np.log(1 - p)).mean())


def _sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))
