"""How a scorer meets labels of people that it has not seen: the figures behind its claims."""

from pathlib import Path

import numpy as np

from eval.ssa.judge import Floats, Judge, Measures, calibrated
from eval.ssa.scorer import Exchange, Scorer
from eval.ssa.train import Labelled, read_labels
from eval.ssa.validate import (
    by_group,
    ece,
    means_by,
    partial_spearman,
    reliability,
    spearman,
)
from eval.ssa.words import words

FOLDS = 5
_CHUNK = 32


def trust_lines(scorer: Scorer, labels: Path) -> list[str]:
    """What is to be printed of a scorer and a file of labels.

    Args:
        labels: lines of `{context, response, sensible, specific}`, and `group` (replies to one
            context) and `system` where they are known.

    Raises:
        InputError: a line is not such a record.
    """
    labelled = read_labels(labels)
    exchanges = [Exchange.of(pair) for pair in labelled.pairs]
    parts = [scorer.measures(exchanges[i : i + _CHUNK]) for i in range(0, len(exchanges), _CHUNK)]
    measures = Measures(
        **{n: np.concatenate([getattr(part, n) for part in parts]) for n in Measures.__slots__}
    )
    names = [str(record.get("group", record["context"])) for record in labelled.records]
    groups = np.unique(names, return_inverse=True)[1]
    length = np.array([len(words(exchange.reply)) for exchange in exchanges], float)
    lines = [
        f"{len(exchanges)} replies of {groups.max() + 1} contexts; 95 % intervals by drawing "
        "contexts 2,000 times, seed 0"
    ]
    judge = scorer.judge
    blank = Judge(judge.mean, judge.spread)
    for how, (sensible, specific) in {
        "not fitted to people": blank.probabilities(measures),
        f"calibrated in {FOLDS} folds of contexts": _folds(blank, measures, labelled, groups),
    }.items():
        lines.append(how)
        lines.append(_line("sensible", sensible, labelled.sensible, groups, length))
        lines.append(_line("specific", specific, labelled.specific, groups, length))
    lines += _reliability("sensible", sensible, labelled.sensible)
    lines += _reliability("specific", specific, labelled.specific)
    systems = [str(record.get("system", "all")) for record in labelled.records]
    told = {
        "SSA": (sensible + specific) / 2,
        "by people": (labelled.sensible + labelled.specific) / 2,
    }
    for name, means in means_by(systems, told).items():
        lines.append(f"system {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
    return lines


def _folds(
    blank: Judge, measures: Measures, labelled: Labelled, groups: np.ndarray
) -> tuple[Floats, Floats]:
    """Each reply's probabilities by a calibration that saw no reply to its context."""
    sensible, specific = np.zeros(len(groups)), np.zeros(len(groups))
    for fold in range(FOLDS):
        out = groups % FOLDS == fold
        if not out.any():
            continue
        judge = calibrated(
            blank, _rows(measures, ~out), labelled.sensible[~out], labelled.specific[~out]
        )
        sensible[out], specific[out] = judge.probabilities(_rows(measures, out))
    return sensible, specific


def _rows(measures: Measures, chosen: np.ndarray) -> Measures:
    return Measures(**{name: getattr(measures, name)[chosen] for name in Measures.__slots__})


def _line(metric: str, told: Floats, found: Floats, groups: np.ndarray, length: Floats) -> str:
    low, high = by_group(lambda rows: spearman(told[rows], found[rows]), groups.tolist())
    return (
        f"  {metric}: Spearman {spearman(told, found):.3f} [{low:.3f}, {high:.3f}], "
        f"given length {partial_spearman(told, found, length):.3f}, "
        f"with length {spearman(told, length):.3f}, ECE {ece(told, found):.3f}"
    )


def _reliability(metric: str, told: Floats, found: Floats) -> list[str]:
    parts = reliability(told, found)
    row = "  ".join(f"{part.told:.2f}→{part.found:.2f}" for part in parts)
    return [f"reliability of {metric}, told→found in {len(parts)} equal bins: {row}"]
