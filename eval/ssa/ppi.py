"""Few human labels and many automatic scores, made one estimate that is right on average.

Prediction-powered inference (Angelopoulos et al. 2023, Science 382:669) with the tuned weight of
PPI++ (Angelopoulos, Duchi, Zrnic 2023, arXiv 2311.01453). With human labels Y and scores f:

    estimate = mean(Y) + lambda * (mean of f where nobody labelled - mean of f where people did)

Whatever the scorer's errors, the bracket is zero on average, so the estimate is unbiased; the
better the scorer, the less it varies. lambda = 0 is the human labels alone. The labelled responses
must have been picked at random.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.stats import LEVEL, Floats, Interval


@dataclass(frozen=True, slots=True)
class Response:
    """One response for the estimate.

    Attributes:
        cluster: its conversation.
        scored: automatic sensible and specific, 0 to 1.
        labelled: what people say of both, 0 or 1; None where they were not asked.
    """

    cluster: Hashable
    scored: tuple[float, float]
    labelled: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        weight: lambda; how far the scores are trusted. Of SSA: the mean of both weights.
        human: the mean of the human labels alone, with `human_interval`.
    """

    value: float
    interval: Interval
    weight: float
    human: float
    human_interval: Interval


@dataclass(frozen=True, slots=True)
class SsaEstimate:
    """Sensibleness, specificity and their mean.

    Attributes:
        labelled, unlabelled: responses with and without human labels.
        clusters: conversations with at least one label.
        gated: specificity came out above sensibleness and was set to it.
    """

    sensible: Estimate
    specific: Estimate
    ssa: Estimate
    labelled: int
    unlabelled: int
    clusters: int
    gated: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """A mean as human part and correction, with each cluster's share of their errors, (C,)."""

    human: float
    human_influence: Floats
    correction: float
    correction_influence: Floats

    @property
    def weight(self) -> float:
        """The lambda of least variance, eq. 5 of PPI++, within [0, 1]."""
        spread = float(self.correction_influence @ self.correction_influence)
        if spread == 0:
            return 0.0
        return float(np.clip(-(self.human_influence @ self.correction_influence) / spread, 0, 1))


def estimate_ssa(responses: Sequence[Response]) -> SsaEstimate | None:
    """SSA of one system from the responses that people labelled and those they did not.

    None where fewer than two conversations have labels: their spread cannot be told.
    """
    labelled = np.array([one.labelled is not None for one in responses], dtype=bool)
    names = [one.cluster for one in responses]
    clusters = _places(names)
    n_clusters = len(set(clusters[labelled].tolist()))
    if n_clusters < 2:
        return None
    parts = [_parts(responses, labelled, clusters, which) for which in (0, 1)]
    weights = [one.weight for one in parts]
    values = [p.human + w * p.correction for p, w in zip(parts, weights, strict=True)]
    influences = [
        p.human_influence + w * p.correction_influence for p, w in zip(parts, weights, strict=True)
    ]
    values = [float(np.clip(value, 0, 1)) for value in values]
    gated = values[1] > values[0]
    values[1] = min(values)
    humans = [one.human for one in parts]
    human_influences = [one.human_influence for one in parts]
    sensible, specific, ssa = (
        _estimate(value, influence, weight, human, human_influence, n_clusters)
        for value, influence, weight, human, human_influence in zip(
            *(_with_mean(each) for each in (values, influences, weights, humans, human_influences)),
            strict=True,
        )
    )
    n_labelled = int(labelled.sum())
    return SsaEstimate(
        sensible, specific, ssa, n_labelled, len(responses) - n_labelled, n_clusters, gated
    )


def _places(names: Sequence[Hashable]) -> np.ndarray:
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], dtype=int)


def _parts(
    responses: Sequence[Response], labelled: np.ndarray, clusters: np.ndarray, which: int
) -> _Parts:
    scored = np.array([one.scored[which] for one in responses], dtype=float)
    people = np.array([one.labelled[which] for one in responses if one.labelled], dtype=float)
    human, human_influence = _mean(people, clusters[labelled], clusters.max() + 1)
    on_labelled, its_influence = _mean(scored[labelled], clusters[labelled], clusters.max() + 1)
    if labelled.all():
        return _Parts(human, human_influence, 0.0, np.zeros_like(human_influence))
    elsewhere, influence = _mean(scored[~labelled], clusters[~labelled], clusters.max() + 1)
    return _Parts(human, human_influence, elsewhere - on_labelled, influence - its_influence)


def _mean(values: Floats, clusters: np.ndarray, n_clusters: int) -> tuple[float, Floats]:
    """The mean and each cluster's share in its error, (C,): the mean as a ratio, linearised."""
    mean = float(values.mean())
    sums = np.bincount(clusters, values - mean, minlength=n_clusters)
    # Corrected for the mean being taken from the same clusters, as n / (n - 1) in a variance.
    present = len(set(clusters.tolist()))
    return mean, np.sqrt(present / max(1, present - 1)) * sums / len(values)


def _with_mean(both: Sequence[float] | Sequence[Floats]) -> list[float | Floats]:
    return [both[0], both[1], (both[0] + both[1]) / 2]


def _estimate(
    value: float,
    influence: Floats,
    weight: float,
    human: float,
    human_influence: Floats,
    n_clusters: int,
) -> Estimate:
    return Estimate(
        value=float(value),
        interval=_interval(value, influence, n_clusters),
        weight=float(weight),
        human=float(human),
        human_interval=_interval(human, human_influence, n_clusters),
    )


def _interval(value: float, influence: Floats, n_clusters: int) -> Interval:
    """By the t distribution on the labelled clusters, which are the few, within [0, 1]."""
    from scipy.stats import t

    reach = t.ppf(1 - (1 - LEVEL) / 2, n_clusters - 1) * float(np.sqrt(influence @ influence))
    return Interval(max(0.0, value - reach), min(1.0, value + reach))
