"""How far the scorer can be trusted: rank correlations, calibration, separation; pure functions.

Shapes: `P` pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(is_true: Floats, values: Floats) -> float:
    """How often a true reply gets more than a false one, ties counting half."""
    from scipy.stats import rankdata

    ranks, n = rankdata(values), int(is_true.sum())
    if n in (0, len(values)):
        return float("nan")
    below = ranks[is_true > 0].sum() - n * (n + 1) / 2
    return round(float(below / (n * (len(values) - n))), 4)


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; not a number where one side is constant."""
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def partial_spearman(a: Floats, b: Floats, given: Floats) -> float:
    """Rank correlation of `a` and `b` with what both owe to the rank of `given` taken away."""
    ab, ag, bg = spearman(a, b), spearman(a, given), spearman(b, given)
    return float((ab - ag * bg) / np.sqrt((1 - ag**2) * (1 - bg**2)))


def by_group(
    measure: Callable[[NDArray[np.intp]], float],
    groups: Sequence[int],
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a measure of rows; whole groups are drawn.

    Args:
        measure: of the numbers of the drawn rows.
        groups: (P,) which group each row is of.
    """
    rng = np.random.default_rng(seed)
    labels = np.asarray(groups)
    names = np.unique(labels)
    rows = [np.flatnonzero(labels == name) for name in names]
    values = [
        measure(np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))]))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Bin:
    """Replies given about the same probability.

    Attributes:
        n: how many.
        told: their mean probability.
        found: their mean label.
    """

    n: int
    told: float
    found: float


def reliability(told: Floats, found: Floats, *, bins: int = 10) -> list[Bin]:
    """Bins of equally many replies, from the least to the most probable."""
    order = np.argsort(told, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [Bin(len(p), float(told[p].mean()), float(found[p].mean())) for p in parts]


def ece(told: Floats, found: Floats, *, bins: int = 10) -> float:
    """Expected calibration error: mean distance of told and found over bins of equal size."""
    parts = reliability(told, found, bins=bins)
    return round(sum(p.n * abs(p.told - p.found) for p in parts) / len(told), 4)


def means_by(names: Sequence[str], values: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """The mean of each of `values` over the rows of each name."""
    labels = np.array(names)
    return {
        str(name): {key: round(float(v[labels == name].mean()), 4) for key, v in values.items()}
        for name in np.unique(labels)
    }
