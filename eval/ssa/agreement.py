"""How far raters agree: percent agreement, Krippendorff's alpha, Gwet's AC1, each rater's habits.

Written here and not taken: `krippendorff` on PyPI is GPL, and SciPy has none of them. Everything
comes from one table per item, so that intervals by resampling items cost one matrix product.

`U` items with a label, `K` categories.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.stats import RESAMPLES, Floats, Interval

Labels = Mapping[str, Mapping[str, str]]
"""Item -> rater -> category; who did not label an item is not in it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of agreement with its 95 % interval, by drawing items."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Rater:
    """One rater beside the others.

    Attributes:
        labels: how many.
        shares: category -> part of the labels.
        with_majority: part of the items on which the label is that of most others; None where
            nobody else labelled, or the others were split.
        is_uniform: gave ten labels or more, all the same.
    """

    name: str
    labels: int
    shares: Mapping[str, float]
    with_majority: float | None
    is_uniform: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a set of labels says about its raters.

    Attributes:
        items: with two labels or more; the others cannot say anything.
        percent: part of the pairs of raters that agree on an item.
        alpha: Krippendorff's; 1 is full agreement, 0 chance.
        ac1: Gwet's; does not fall where nearly all labels are the same.
        is_constant: all labels are of one category. Alpha would be 0/0; it is set to 1 and means
            only that nobody disagreed.
    """

    items: int
    percent: Measure
    alpha: Measure
    ac1: Measure
    is_constant: bool
    raters: tuple[Rater, ...]


def agreement(
    labels: Labels,
    categories: Sequence[str],
    *,
    level: Literal["nominal", "ordinal"] = "nominal",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Agreement | None:
    """The agreement of all raters; None where no item has two labels.

    Args:
        categories: all there are, for an ordinal alpha from low to high.
        level: of alpha: whether all disagreements count the same, or far ones more.
    """
    counts = _counts(labels, categories)
    paired = counts.sum(1) >= 2
    if not paired.any():
        return None
    drawn_items = np.random.default_rng(seed).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=resamples
    )
    measures: list[Measure] = []
    for tables, measure in (
        (_pair_table(counts), _percent),
        (_coincidences(counts), _nominal_alpha if level == "nominal" else _ordinal_alpha),
        (np.concatenate([_pair_table(counts), _shares(counts)], axis=1), _ac1),
    ):
        value = float(measure(tables.sum(0)[None])[0])
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any pair is left out
            low, high = np.nanquantile(measure(drawn_items @ tables), [0.025, 0.975])
        interval = Interval(float(low), float(high)) if paired.sum() > 1 else None
        measures.append(Measure(value, interval))
    used = int((counts[paired].sum(0) > 0).sum())
    percent, alpha, ac1 = measures
    return Agreement(
        items=int(paired.sum()), percent=percent, alpha=alpha, ac1=ac1, is_constant=used == 1,
        raters=_raters(labels, categories),
    )  # fmt: skip


def _counts(labels: Labels, categories: Sequence[str]) -> Floats:
    """(U, K): how many raters gave each category."""
    given_any = [given for given in labels.values() if given]
    counts = np.zeros((len(given_any), len(categories)))
    for row, given in zip(counts, given_any, strict=True):
        for category in given.values():
            row[categories.index(category)] += 1
    return counts


def _pair_table(counts: Floats) -> Floats:
    """(U, 2): the part of each item's pairs of raters that agree, and whether it has pairs."""
    n = counts.sum(1)
    agreed = (counts * (counts - 1)).sum(1) / np.maximum(1, n * (n - 1))
    return np.stack([agreed, n >= 2], axis=1)


def _shares(counts: Floats) -> Floats:
    """(U, K + 1): the part of each item's labels that each category has, and 1 to count items."""
    shares = counts / counts.sum(1, keepdims=True)
    return np.concatenate([shares, np.ones((len(counts), 1))], axis=1)


def _coincidences(counts: Floats) -> Floats:
    """(U, K * K): pairs of labels within each item, each item's weighing as many as its labels."""
    n = counts.sum(1)
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    return (pairs / np.maximum(1, n - 1)[:, None, None]).reshape(len(counts), -1)


def _percent(tables: Floats) -> Floats:
    return tables[:, 0] / tables[:, 1]


def _ac1(tables: Floats) -> Floats:
    """Gwet (2008), for any number of raters; items with one label count for chance alone."""
    shares = tables[:, 2:-1] / tables[:, -1:]
    chance = (shares * (1 - shares)).sum(1) / (shares.shape[1] - 1)
    return (_percent(tables) - chance) / (1 - chance)


def _nominal_alpha(tables: Floats) -> Floats:
    k = round(tables.shape[1] ** 0.5)
    return _alpha(tables.reshape(-1, k, k), np.broadcast_to(1 - np.eye(k), (len(tables), k, k)))


def _ordinal_alpha(tables: Floats) -> Floats:
    k = round(tables.shape[1] ** 0.5)
    coincidences = tables.reshape(-1, k, k)
    margins = coincidences.sum(2)
    # Labels between two categories, those of the two counted half.
    up_to = margins.cumsum(1) - margins / 2
    return _alpha(coincidences, (up_to[:, :, None] - up_to[:, None, :]) ** 2)


def _alpha(coincidences: Floats, distances: Floats) -> Floats:
    """Krippendorff (2011), 1 - observed / expected disagreement; 1 where there is none."""
    margins = coincidences.sum(2)
    n = margins.sum(1)
    observed = (coincidences * distances).sum((1, 2))
    expected = (margins[:, :, None] * margins[:, None, :] * distances).sum((1, 2)) / (n - 1)
    return 1 - np.divide(observed, expected, out=np.zeros_like(observed), where=expected > 0)


def _raters(labels: Labels, categories: Sequence[str]) -> tuple[Rater, ...]:
    names = sorted({rater for given in labels.values() for rater in given})
    return tuple(_rater(name, labels, categories) for name in names)


def _rater(name: str, labels: Labels, categories: Sequence[str]) -> Rater:
    own = Counter(given[name] for given in labels.values() if name in given)
    agreed = []
    for given in labels.values():
        others = Counter(label for rater, label in given.items() if rater != name)
        ranked = others.most_common(2)
        split = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
        if name in given and ranked and not split:
            agreed.append(given[name] == ranked[0][0])
    total = own.total()
    return Rater(
        name=name,
        labels=total,
        shares={category: own[category] / total for category in categories},
        with_majority=sum(agreed) / len(agreed) if agreed else None,
        is_uniform=total >= 10 and len(own) == 1,
    )
