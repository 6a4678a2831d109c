"""How well the ethics filter tells labelled replies apart, and what else it rejects."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from chatbot.ethics_probe import Language
from chatbot.training.ethics_rows import Row
from chatbot.types import Verdict


@dataclass(frozen=True, slots=True)
class Score:
    """How rows of one source are told apart, or how many replies of a dialogue file are rejected.

    Attributes:
        macro_f1: at the threshold that rejects, of rows with both labels; None otherwise.
        macro_f1_half: the same at risk 0.5, where macro-F1 has its natural cut.
        rejected: share of all rows.
    """

    source: str
    language: Language
    n: int
    n_unethical: int
    macro_f1: float | None
    macro_f1_half: float | None
    rejected: float


def score_rows(
    rows: Sequence[Row], risks: NDArray[np.float64], threshold: Mapping[Language, float]
) -> list[Score]:
    """One line for each source and language of the rows."""
    places: dict[tuple[str, Language], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row.source, row.language].append(i)
    scores = []
    for (source, language), found in sorted(places.items()):
        truth = np.array([rows[i].is_unethical for i in found])
        rejected = risks[found] >= threshold[language]
        both = 0 < truth.sum() < len(truth)
        scores.append(
            Score(
                source, language, len(found), int(truth.sum()),
                macro_f1(truth, rejected) if both else None,
                macro_f1(truth, risks[found] >= 0.5) if both else None,
                float(rejected.mean()),
            )
        )  # fmt: skip
    return scores


def macro_f1(truth: NDArray[np.bool_], told: NDArray[np.bool_]) -> float:
    """Mean of the F1 of both classes."""
    scores = []
    for side in (True, False):
        hits = np.sum((truth == side) & (told == side))
        scores.append(2 * hits / max(1, np.sum(truth == side) + np.sum(told == side)))
    return float(np.mean(scores))


def category_precision(
    rows: Sequence[Row], verdicts: Sequence[Verdict]
) -> dict[tuple[str, Language], tuple[int, float]]:
    """Of labelled rows rejected as of a category: how many, and the share people called unethical.

    Ordinary dialogues are left out: nobody judged their replies.
    """
    found: dict[tuple[str, Language], list[bool]] = defaultdict(list)
    for row, verdict in zip(rows, verdicts, strict=True):
        if not verdict.accepted and not row.source.startswith("dialogue/"):
            found[verdict.category, row.language].append(row.is_unethical)
    return {key: (len(each), sum(each) / len(each)) for key, each in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Cut:
    """What a threshold would do to the validation rows of a language."""

    language: Language
    threshold: float
    ordinary_rejected: float
    precision: float
    recall: float
    is_used: bool


def threshold_rows(
    rows: Sequence[Row], risks: NDArray[np.float64], used: Mapping[Language, float]
) -> list[Cut]:
    """A few thresholds of each language, the one in use among them."""
    cuts = []
    for language in get_args(Language):
        mine = np.array([row.language == language for row in rows])
        ordinary = mine & np.array([row.source.startswith("dialogue/") for row in rows])
        truth = np.array([row.is_unethical for row in rows])
        for threshold in sorted({0.5, 0.7, 0.8, 0.9, 0.95, 0.98, used[language]}):
            rejected = risks >= threshold
            labelled = mine & ~ordinary
            hits = float(np.sum(labelled & rejected & truth))
            cuts.append(
                Cut(
                    language,
                    threshold,
                    float(rejected[ordinary].mean()) if ordinary.any() else 0.0,
                    hits / max(1, int(np.sum(labelled & rejected))),
                    hits / max(1, int(np.sum(labelled & truth))),
                    threshold == used[language],
                )
            )
    return cuts
