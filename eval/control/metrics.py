"""Numbers over replies as pure functions; knows neither bot nor judges.

Shapes: `n` contexts, `S` strengths or turns, `R` resamples.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2_000

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over `n` contexts; NaN where there is none."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """With null for NaN, which JSON has no word for."""
        return {
            "value": _finite(self.value),
            "interval": [_finite(self.low), _finite(self.high)],
            "n": self.n,
        }


def estimate(statistic: Callable[[NDArray[np.intp]], Floats], n: int, *, seed: int = 0) -> Estimate:
    """A statistic of contexts with its percentile bootstrap interval.

    Args:
        statistic: from places of contexts (R, n) to values (R,).
        n: number of contexts.
    """
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    draw = np.random.default_rng(seed)
    value = float(statistic(np.arange(n)[None])[0])
    values = statistic(draw.integers(n, size=(RESAMPLES, n)))
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(value, math.nan, math.nan, n)
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def mean(values: Sequence[float] | NDArray[Any]) -> Estimate:
    """The mean of one value per context."""
    held = np.asarray(values, float)
    return estimate(lambda places: held[places].mean(1), len(held))


def perplexity_ratio(
    nats: Sequence[float], pieces: Sequence[int],
    plain_nats: Sequence[float], plain_pieces: Sequence[int],
) -> Estimate:  # fmt: skip
    """Perplexity of replies over that of the unsteered replies to the same contexts.

    Each a perplexity per piece of the whole set, exp(sum of nats / sum of pieces), under the
    untouched model; nats are negative log-likelihoods.
    """
    a, b = np.asarray(nats, float), np.asarray(pieces, float)
    c, d = np.asarray(plain_nats, float), np.asarray(plain_pieces, float)

    def ratio(places: NDArray[np.intp]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            each = a[places].sum(1) / b[places].sum(1) - c[places].sum(1) / d[places].sum(1)
        return np.asarray(np.exp(each))

    return estimate(ratio, len(a))


def distinct(texts: Sequence[str], order: int) -> float:
    """Different n-grams of words over all n-grams, in a set of texts (Li et al. 2016).

    It falls with the number of texts, so that only sets of equal size compare, and a bootstrap,
    which repeats texts, would draw it down.
    """
    grams = [gram for text in texts for gram in _ngrams(text, order)]
    return len(set(grams)) / len(grams) if grams else math.nan


def _ngrams(text: str, order: int) -> list[tuple[str, ...]]:
    spoken = _WORD.findall(text.lower().replace("’", "'"))
    return [tuple(spoken[i : i + order]) for i in range(len(spoken) - order + 1)]


def ranks(values: Floats) -> Floats:
    """Ranks (..., S) from 1 along the last axis, equal values sharing their mean rank."""
    less = (values[..., None, :] < values[..., :, None]).sum(-1)
    same = (values[..., None, :] == values[..., :, None]).sum(-1)
    return less + (same + 1) / 2


def rank_correlation(x: Floats, y: Floats) -> Floats:
    """Spearman's correlation along the last axis; NaN where one of them is constant.

    Args:
        x: (S,) or (..., S).
        y: (..., S).
    """
    a, b = ranks(np.asarray(x, float)), ranks(np.asarray(y, float))
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1)))


def curve_correlation(asked: Sequence[float], measured: NDArray[Any]) -> Estimate:
    """Rank correlation of what was asked (S,) with the mean of measured (n, S) over contexts."""
    held = np.asarray(measured, float)
    strengths = np.asarray(asked, float)
    return estimate(lambda places: rank_correlation(strengths, held[places].mean(1)), len(held))


def each_correlation(asked: Sequence[float], measured: NDArray[Any]) -> Estimate:
    """Mean over contexts of the rank correlation within each, constant ones counted as 0."""
    each = rank_correlation(np.asarray(asked, float), np.asarray(measured, float))
    return mean(np.nan_to_num(each))


def success_at(points: Sequence[tuple[float, float]], ratio: float) -> float | None:
    """Success at a perplexity ratio, by straight lines between (ratio, success) points.

    The most that can be had at that price or a lower one, so the points may come in any order and
    more strength may cost less. None where every point costs more.
    """
    lines = sorted(points)
    affordable = [success for price, success in lines if price <= ratio]
    if not affordable:
        return None
    best = max(affordable)
    for (low, first), (high, second) in pairwise(lines):
        if low <= ratio < high:
            best = max(best, first + (second - first) * (ratio - low) / (high - low))
    return best


def leakage(steered: NDArray[Any], plain: NDArray[Any]) -> list[float]:
    """Change of the share of each label (K,), in points of 100, from plain to steered (n, K).

    Args:
        steered, plain: 1 where the label was judged to be there, else 0.
    """
    change = np.asarray(steered, float).mean(0) - np.asarray(plain, float).mean(0)
    return [round(100 * float(value), 2) for value in change]


def _finite(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
