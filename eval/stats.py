"""Intervals and tests for means over conversations; the arithmetic is SciPy's where it has it.

What is dependent is kept together: responses of one conversation (a cluster) are drawn, left out
or exchanged as one. `C` clusters, each with the sum of its values and how many they are.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Clusters:
    """Values that belong together, summed.

    Attributes:
        sums, counts: (C,), of the values of each cluster.
    """

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, values: Sequence[float], names: Sequence[Hashable]) -> "Clusters":
        """Clusters of the values that share a name, in the order of their first value."""
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        sums, counts = np.zeros(len(places)), np.zeros(len(places))
        for value, name in zip(values, names, strict=True):
            sums[places[name]] += value
            counts[places[name]] += 1
        return cls(sums, counts)

    @property
    def mean(self) -> float:
        """Over all values, each counted once."""
        return float(self.sums.sum() / self.counts.sum())

    def standard_error(self) -> float:
        """Of the mean, by linearising the ratio of sums; infinite for one cluster."""
        n = len(self.sums)
        if n < 2:
            return math.inf
        influence = (self.sums - self.mean * self.counts) / self.counts.sum()
        return float(np.sqrt(n / (n - 1) * (influence**2).sum()))


def wilson(successes: int, n: int) -> Interval:
    """Of a proportion of independent trials (Wilson 1927); right at 0 and 1 too."""
    from scipy.stats import binomtest

    if n == 0:
        return Interval(0.0, 1.0)
    found = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def cluster_bootstrap(
    clusters: Clusters, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Percentile interval of the mean by drawing whole clusters.

    None for fewer than two clusters, of which nothing can be drawn. Where every value is the same
    the interval has no width: use `wilson` there.
    """
    from scipy.stats import bootstrap

    if len(clusters.sums) < 2:
        return None

    def mean(sums: Floats, counts: Floats, axis: int) -> Any:
        return sums.sum(axis) / counts.sum(axis)

    found = bootstrap(
        (clusters.sums, clusters.counts),
        mean,
        paired=True,  # a cluster's sum and count are drawn together
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(clusters.sums)),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p that A and B differ, from the pairs in which one of them succeeds alone."""
    from scipy.stats import binomtest

    n = only_a + only_b
    return float(binomtest(only_a, n).pvalue) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for being several (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = most
    return adjusted


def detectable_difference(standard_error: float, *, power: float = 0.8) -> float:
    """The least true difference that a two-sided test at 5 % finds with this power."""
    from scipy.stats import norm

    return float((norm.ppf(1 - (1 - LEVEL) / 2) + norm.ppf(power)) * standard_error)
