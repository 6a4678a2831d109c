"""Is B worse than A? The same contexts or conversations, one difference each.

A difference belongs to a context (or, of dialogues, to the conversation of the same `id`). The
interval is by drawing those, so that what one context does to both systems drops out.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from chatbot.errors import InputError
from eval.ssa.results import METRICS, Judged, System
from eval.stats import (
    RESAMPLES,
    Clusters,
    Interval,
    cluster_bootstrap,
    detectable_difference,
    holm,
    mcnemar,
)

THRESHOLD = 0.5
"""From this score on a response counts as sensible, or specific, where yes or no is needed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """B - A in one metric.

    Attributes:
        a, b: means over the pairs.
        interval: 95 %, by drawing pairs; None for a single pair.
        detectable: the least true difference found 4 times in 5 with so many pairs.
        b_better, b_worse: pairs; the rest are ties.
        only_a, only_b: responses that count in one system only; p by McNemar's exact test,
            `p_holm` adjusted for the metrics tested. None for ssa and for dialogues.
    """

    metric: str
    a: float
    b: float
    value: float
    interval: Interval | None
    detectable: float
    b_better: int
    b_worse: int
    only_a: int | None = None
    only_b: int | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One context or conversation with both systems' mean scores."""

    name: str
    a: dict[str, float]
    b: dict[str, float]
    a_text: str
    b_text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on what they share.

    Attributes:
        left_out: contexts or conversations that only one of them has.
        same_length: SSA difference at equal length of responses (words, logarithm), by regression;
            None where no lengths differ.
    """

    a: str
    b: str
    pairs: tuple[Pair, ...]
    left_out: int
    differences: tuple[Difference, ...]
    same_length: float | None
    seed: int
    resamples: int

    def is_worse(self, margin: float, metric: str = "ssa") -> bool:
        """Whether B is worse than A by more than `margin`: the whole interval lies below it."""
        found = next(one for one in self.differences if one.metric == metric)
        high = found.interval.high if found.interval else found.value
        return high < -margin

    def is_shown_no_worse(self, margin: float, metric: str = "ssa") -> bool:
        """Whether the data show that B is not worse by more than `margin`."""
        found = next(one for one in self.differences if one.metric == metric)
        return found.interval is not None and found.interval.low >= -margin


def compare(a: System, b: System, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """B against A.

    Raises:
        InputError: other scorers, or nothing in common.
    """
    if a.scorer != b.scorer:
        raise InputError(
            f"{a.path} is scored by {dict(a.scorer)}, {b.path} by {dict(b.scorer)}; score both "
            "with the same scorer"
        )
    of_a, of_b = _by_conversation(a), _by_conversation(b)
    shared = [name for name in of_a if name in of_b]
    if not shared:
        raise InputError(
            f"{a.path} and {b.path} share no context (nor, of dialogues, an `id`); compare "
            "responses to the same contexts"
        )
    tests: dict[str, tuple[int, int]] = {}
    if all(len(of_a[name]) == len(of_b[name]) == 1 for name in shared):
        for metric in ("sensible", "specific"):
            yes = [
                (_counts(of_a[name][0], metric), _counts(of_b[name][0], metric)) for name in shared
            ]
            tests[metric] = (yes.count((True, False)), yes.count((False, True)))
    p_values = [mcnemar(*tests[metric]) for metric in tests]
    adjusted = dict(zip(tests, zip(p_values, holm(p_values), strict=True), strict=True))
    differences = []
    for metric in METRICS:
        means = np.array([[_mean(of[name], metric) for name in shared] for of in (of_a, of_b)])
        only = tests.get(metric, (None, None))
        p, p_holm = adjusted.get(metric, (None, None))
        differences.append(
            _difference(metric, means[0], means[1], only, p, p_holm, seed, resamples)
        )
    pairs = tuple(_pair(str(name), of_a[name], of_b[name]) for name in shared)
    return Comparison(
        a=a.name, b=b.name, pairs=pairs,
        left_out=len(of_a.keys() ^ of_b.keys()),
        differences=tuple(differences), same_length=_same_length(pairs),
        seed=seed, resamples=resamples,
    )  # fmt: skip


def _difference(
    metric: str,
    a: np.ndarray,
    b: np.ndarray,
    only: tuple[int | None, int | None],
    p: float | None,
    p_holm: float | None,
    seed: int,
    resamples: int,
) -> Difference:
    change = b - a
    clusters = Clusters(change, np.ones(len(change)))
    return Difference(
        metric=metric,
        a=float(a.mean()),
        b=float(b.mean()),
        value=float(change.mean()),
        interval=cluster_bootstrap(clusters, seed=seed, resamples=resamples),
        detectable=detectable_difference(clusters.standard_error()),
        b_better=int((change > 0).sum()),
        b_worse=int((change < 0).sum()),
        only_a=only[0],
        only_b=only[1],
        p=p,
        p_holm=p_holm,
    )


def _by_conversation(system: System) -> dict[Hashable, list[Judged]]:
    found: dict[Hashable, list[Judged]] = {}
    for one in system.responses:
        found.setdefault(one.conversation, []).append(one)
    return found


def _counts(one: Judged, metric: str) -> bool:
    return bool(getattr(one, metric) >= THRESHOLD)


def _mean(responses: Sequence[Judged], metric: str) -> float:
    return float(np.mean([getattr(one, metric) for one in responses]))


def _pair(name: str, a: Sequence[Judged], b: Sequence[Judged]) -> Pair:
    return Pair(
        name=name,
        a={metric: _mean(a, metric) for metric in METRICS},
        b={metric: _mean(b, metric) for metric in METRICS},
        a_text="\n".join(one.exchange.response for one in a),
        b_text="\n".join(one.exchange.response for one in b),
    )


def _same_length(pairs: Sequence[Pair]) -> float | None:
    """The SSA difference that is left where both responses are as long."""
    longer = np.array(
        [np.log1p(len(p.b_text.split())) - np.log1p(len(p.a_text.split())) for p in pairs]
    )
    if len(pairs) < 3 or not np.ptp(longer):
        return None
    change = np.array([pair.b["ssa"] - pair.a["ssa"] for pair in pairs])
    table = np.stack([np.ones(len(pairs)), longer], axis=1)
    return float(np.linalg.lstsq(table, change, rcond=None)[0][0])
