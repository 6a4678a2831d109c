"""The shipped scorer on a small labelled file of our own: figures that anyone can print again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.errors import InputError
from eval.jsonl import Line, read_lines
from eval.ssa.formats import entry_of
from eval.ssa.scoring import ScorerLike
from eval.stats import Interval

FILE = Path(__file__).with_name("selftest.jsonl")

_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Figures:
    """How one metric's scores meet its labels of 0 and 1.

    Attributes:
        n, positives: responses that are labelled, and labelled 1.
        auc: chance that a response labelled 1 has a higher score than one labelled 0.
        auc_interval: 95 %, by drawing contexts.
        spearman: rank correlation.
        ece: mean distance of score and share of 1, over ten bins of equal width.
        right: part on the side of 0.5 where the label is.
    """

    metric: str
    n: int
    positives: int
    auc: float
    auc_interval: Interval
    spearman: float
    ece: float
    right: float

    def __str__(self) -> str:
        return (
            f"{self.metric:9} n = {self.n} ({self.positives} labelled 1)  AUC {self.auc:.3f} "
            f"{self.auc_interval}  Spearman {self.spearman:.3f}  ECE {self.ece:.3f}  "
            f"right {self.right:.3f}"
        )


def selftest(
    scorer: ScorerLike, path: str | Path = FILE, *, seed: int = 0
) -> tuple[Mapping[str, Any], list[Figures]]:
    """The scorer's identity and its figures on labelled lines.

    Args:
        path: lines of context, response, sensible and specific (0 or 1; specific null or absent
            where nobody judged it).

    Raises:
        InputError: a line is not labelled, or all labels are the same.
    """
    lines = read_lines(path, _check)
    exchanges = [entry_of(line).exchanges[0] for line in lines]
    scores = scorer.score([(one.context, one.response) for one in exchanges])
    contexts = [one.context_key for one in exchanges]
    found = []
    for metric in ("sensible", "specific"):
        rows = [
            (float(getattr(score, metric)), int(line.record[metric]), context)
            for score, line, context in zip(scores, lines, contexts, strict=True)
            if line.record.get(metric) is not None
        ]
        found.append(_figures(metric, rows, Path(path), seed))
    return dict(scorer.identity), found


def _check(line: Line) -> None:
    entry_of(line)
    for metric in ("sensible", "specific"):
        value = line.record.get(metric)
        if value not in (0, 1) and not (metric == "specific" and value is None):
            raise line.error(f"`{metric}` is {value!r}; expected the label 0 or 1")


def _figures(metric: str, rows: Sequence[tuple[float, int, str]], path: Path, seed: int) -> Figures:
    from scipy.stats import spearmanr

    scores = np.array([row[0] for row in rows])
    labels = np.array([row[1] for row in rows])
    if len(set(labels.tolist())) < 2:
        raise InputError(f"{path}: every label of {metric} is the same; give some of 0 and of 1")
    groups = np.unique([row[2] for row in rows], return_inverse=True)[1]
    return Figures(
        metric=metric,
        n=len(rows),
        positives=int(labels.sum()),
        auc=_auc(scores, labels),
        auc_interval=_auc_interval(scores, labels, groups, seed),
        spearman=float(spearmanr(scores, labels).statistic) if np.ptp(scores) else 0.0,
        ece=_ece(scores, labels),
        right=float(((scores >= 0.5) == (labels == 1)).mean()),
    )


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mann-Whitney's U over the number of pairs, ties counted half."""
    from scipy.stats import mannwhitneyu

    one, other = scores[labels == 1], scores[labels == 0]
    return float(mannwhitneyu(one, other).statistic / (len(one) * len(other)))


def _auc_interval(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> Interval:
    """Contexts are drawn with all their responses; draws without both labels are left out.

    A response drawn w times counts w times, so a draw is a product of weights with the table of
    which response labelled 1 beats which labelled 0.
    """
    one, other = labels == 1, labels == 0
    wins = (scores[one][:, None] > scores[other]) + 0.5 * (scores[one][:, None] == scores[other])
    n_groups = groups.max() + 1
    drawn = np.random.default_rng(seed).multinomial(
        n_groups, np.full(n_groups, 1 / n_groups), size=_RESAMPLES
    )[:, groups]
    pairs = drawn[:, one].sum(1) * drawn[:, other].sum(1)
    won = ((drawn[:, one] @ wins) * drawn[:, other]).sum(1)
    low, high = np.quantile(won[pairs > 0] / pairs[pairs > 0], [0.025, 0.975])
    return Interval(float(low), float(high))


def _ece(scores: np.ndarray, labels: np.ndarray) -> float:
    bins = np.minimum((scores * 10).astype(int), 9)
    return float(
        sum(
            (bins == b).mean() * abs(scores[bins == b].mean() - labels[bins == b].mean())
            for b in set(bins.tolist())
        )
    )
