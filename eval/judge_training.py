"""Trains the judges on labelled texts and tells how good they are.

Input: lines of {"text", "label", "split": "train" or "valid", "source"?, "fine"?}. Knows
torch; knows nothing of the bot.

Shapes: `n` texts, `D` dimensions, `K` labels.
"""

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import InputError
from eval.jsonl import Line, read_lines
from eval.judges import NOTHING, Array, Encoder, Judge, hashed_words, word_scale

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import ModuleDict

VAGUE = {
    "approval", "caring", "desire", "curiosity", "confusion", "realization", "disapproval",
    "embarrassment",
}  # fmt: skip
"""Fine labels of GoEmotions that are folded into one of the six emotions without showing it:
its surprise is mostly asking, a part of its joy agreeing. Rows with one of them are left out."""

FALSE_ALARMS = 0.05
"""Share of the valid texts without the attribute that its threshold lets through."""

_BINS = 10
_EPOCHS, _BATCH, _RATE, _DECAY = 12, 256, 0.01, 0.02

READS_WORDS = {"emotion", "sentiment"}
"""Families whose judge reads words beside the vector. On the valid texts of GoEmotions macro-F1
was 0.46 with the vector alone. The judge of topics must not: words of a topic are what steers."""

N_HASHED = 1 << 15
N_HASHED_PARTS = 1 << 17
"""Of a judge that reads no vector: parts of words are more than words."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    label: str
    source: str
    is_train: bool


def read_examples(
    paths: Iterable[Path], *, most: int, labels: Collection[str] | None = None
) -> list[Example]:
    """The labelled texts of files, at most `most` training texts of a source and label.

    Args:
        labels: those that are taken, so that the neutral texts of a file about sentiment can serve
            a judge of emotions; None takes all.

    Raises:
        InputError: a file or line that is not what it should be.
    """
    held: dict[tuple[str, str, bool], list[Example]] = defaultdict(list)
    for path in paths:
        for line in read_lines(path, _check):
            record = line.record
            if VAGUE & set(str(record.get("fine", "")).split("+")):
                continue
            if labels is not None and record["label"] not in labels:
                continue
            source = str(record.get("source", path.name.partition(".")[0]))
            one = Example(record["text"], record["label"], source, record["split"] == "train")
            held[source, one.label, one.is_train].append(one)
    kept: list[Example] = []
    for (_, _, is_train), examples in sorted(held.items()):
        # By hash, so that the judges of emotion and sentiment learn from the same texts.
        examples.sort(key=lambda one: zlib.crc32(one.text.encode("utf-8", "backslashreplace")))
        kept += examples[:most] if is_train else examples
    return kept


def _check(line: Line) -> None:
    record = line.record
    if not all(isinstance(record.get(key), str) and record[key] for key in ("text", "label")):
        raise line.error("expected `text` and `label`, both of them text")
    if record.get("split") not in ("train", "valid"):
        raise line.error(f"`split` is {record.get('split')!r}; expected train or valid")


def train_judge(
    family: str,
    examples: Sequence[Example],
    encoder: Encoder | None,
    *,
    watch: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Judge:
    """A judge of one family, every label weighing the same, with its card.

    Args:
        family: a key of `NOTHING`.
        encoder: of the vectors that it reads; None for a judge of words alone.
        watch: passes on what is to be encoded, for a progress bar.

    Raises:
        InputError: too little to learn from.
    """
    labels = _labels(family, examples)
    vectors = (
        np.zeros((len(examples), 1), np.float32)  # torch has no layer of no width
        if encoder is None
        else _encode(encoder, [one.text for one in examples], watch)
    )
    wanted = np.array([labels.index(one.label) for one in examples])
    valid = [i for i, one in enumerate(examples) if not one.is_train]
    size = N_HASHED_PARTS if encoder is None else N_HASHED if family in READS_WORDS else 0
    found = [hashed_words(one.text, size) if size else [] for one in examples]
    fitted, epoch = _fit(_Texts(vectors, found, wanted), np.array(valid), len(labels), size)
    judge = Judge(
        family, labels, fitted["vector.weight"][:, : 0 if encoder is None else None],
        fitted["vector.bias"],
        fitted["words.weight"].astype(np.float16), np.ones(len(labels), np.float32),
        encoder=dict(encoder.identity) if encoder else {}, card={},
    )  # fmt: skip
    said = judge.probabilities([examples[i].text for i in valid], vectors[valid])
    nothing = labels.index(NOTHING[family])
    thresholds = np.quantile(said[wanted[valid] == nothing], 1 - FALSE_ALARMS, axis=0)
    thresholds[nothing] = 0.5  # its false alarms would be its hits
    card = {
        "counts": _counts(examples),
        "reads": _reads(encoder is not None, size > 0),
        "epochs": epoch,
        "thresholds": dict(zip(labels, map(float, thresholds.round(4)), strict=True)),
        "valid": quality(said, wanted[valid], labels),
        "valid_by_source": {
            source: quality(said[rows], wanted[valid][rows], labels)
            for source, rows in _rows_by_source(examples).items()
        },
    }
    return replace(judge, thresholds=thresholds.astype(np.float32), card=card)


def _reads(vector: bool, words: bool) -> str:
    return " and ".join(["sentence vector"] * vector + ["words"] * words)


def quality(probabilities: Array, wanted: NDArray[np.intp], labels: Sequence[str]) -> Any:
    """How good predictions (n, K) are: macro-F1 over the labels there are, recall, calibration."""
    guessed = probabilities.argmax(1)
    confusion = _confusion(guessed, wanted, len(labels))
    hits, asked, given = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    there = asked > 0
    return {
        "n": len(wanted),
        "accuracy": round(float(hits.sum() / max(1, len(wanted))), 4),
        "macro_f1": round(_macro_f1(confusion), 4),
        "recall": _by_label(labels, there, hits / np.maximum(1, asked)),
        "precision": _by_label(labels, there, hits / np.maximum(1, given)),
        "confusion": {label: confusion[at].tolist() for at, label in enumerate(labels)},
        "calibration_error": round(calibration_error(probabilities, wanted), 4),
    }


def calibration_error(probabilities: Array, wanted: NDArray[np.intp]) -> float:
    """Expected calibration error of the likeliest label, over ten bins, every label as heavy.

    A judge is trained on labels of equal weight, so it is held to that mixture.
    """
    guessed = probabilities.argmax(1)
    sure = probabilities.max(1)
    heavy = 1 / np.bincount(wanted, minlength=probabilities.shape[1])[wanted]
    heavy = heavy / heavy.sum()
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, heavy * (sure - (guessed == wanted)), minlength=_BINS)
    return float(np.abs(gaps).sum())


@dataclass(frozen=True, slots=True)
class _Texts:
    """Vectors (n, D), hashed words and labels (n,) of texts."""

    vectors: Array
    found: Sequence[Sequence[int]]
    wanted: NDArray[np.intp]


def _fit(
    texts: _Texts, valid: NDArray[np.intp], n_labels: int, size: int
) -> tuple[dict[str, Array], int]:
    """Weights after the epoch with the least loss on the valid texts, and its number.

    Every label weighs the same in training and in that loss.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rng = torch.Generator().manual_seed(0)
    train = np.setdiff1d(np.arange(len(texts.wanted)), valid)
    heavy, valid_heavy = (_evenly(texts.wanted[rows], n_labels) for rows in (train, valid))
    wanted = torch.from_numpy(texts.wanted[valid])
    # Both parts begin at 0, as the regression has one optimum.
    model = torch.nn.ModuleDict(
        {
            "vector": torch.nn.Linear(texts.vectors.shape[1], n_labels),
            "words": torch.nn.EmbeddingBag(size, n_labels, mode="sum"),
        }
    )
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    best: tuple[float, dict[str, Array], int] = (math.inf, {}, 0)
    for epoch in range(1, _EPOCHS + 1):
        for part in torch.randperm(len(train), generator=rng).split(_BATCH):
            rows = train[part.numpy()]
            loss = cross_entropy(
                _logits(model, texts, rows), torch.from_numpy(texts.wanted[rows]), weight=heavy
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            loss = cross_entropy(_logits(model, texts, valid), wanted, weight=valid_heavy)
        if float(loss) < best[0]:
            kept = {name: weight.numpy().copy() for name, weight in model.state_dict().items()}
            best = (float(loss), kept, epoch)
    return best[1], best[2]


def _evenly(wanted: NDArray[np.intp], n_labels: int) -> "Tensor":
    """(K,) weights that make all labels count the same."""
    import torch

    counts = np.bincount(wanted, minlength=n_labels)
    return torch.tensor(len(wanted) / (n_labels * np.maximum(1, counts)), dtype=torch.float32)


def _logits(model: "ModuleDict", texts: _Texts, rows: NDArray[np.intp]) -> "Tensor":
    import torch

    logits = model["vector"](torch.from_numpy(texts.vectors[rows]))
    found = [texts.found[row] for row in rows]
    if not any(found):
        return logits
    ends = np.cumsum([0, *map(len, found)])[:-1]
    flat = torch.tensor([place for places in found for place in places])
    added = model["words"](flat, torch.from_numpy(ends))
    return logits + added / torch.tensor([word_scale(places) for places in found])[:, None]


def _confusion(
    guessed: NDArray[np.intp], wanted: NDArray[np.intp], n_labels: int
) -> NDArray[np.intp]:
    """(K, K) counts, a row for each label wanted."""
    counts = np.zeros((n_labels, n_labels), np.intp)
    np.add.at(counts, (wanted, guessed), 1)
    return counts


def _macro_f1(confusion: NDArray[np.intp]) -> float:
    """Mean over the labels that are wanted at all."""
    asked, given = confusion.sum(1), confusion.sum(0)
    f1 = 2 * confusion.diagonal() / np.maximum(1, asked + given)
    return float(f1[asked > 0].mean())


def _labels(family: str, examples: Sequence[Example]) -> tuple[str, ...]:
    if family not in NOTHING:
        raise InputError(f"no family of judges {family!r}; give {', '.join(NOTHING)}")
    train = Counter(one.label for one in examples if one.is_train)
    valid = {one.label for one in examples if not one.is_train}
    labels = tuple(sorted(train))
    if len(labels) < 3 or NOTHING[family] not in labels or valid - train.keys() or not valid:
        raise InputError(
            f"the judge of {family} needs training texts of at least three labels, "
            f"{NOTHING[family]} among them, and valid texts of the same labels; "
            f"found training texts {dict(train)} and valid labels {sorted(valid)}"
        )
    return labels


def _encode(
    encoder: Encoder,
    texts: Sequence[str],
    watch: Callable[[Sequence[Any]], Iterable[Any]],
    size: int = 512,
) -> Array:
    """(n, D), texts of similar length together, so that padding is little."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [order[at : at + size] for at in range(0, len(order), size)]
    vectors: list[Array] = [np.zeros(0, np.float32)] * len(texts)
    for part in watch(parts):
        for i, vector in zip(part, encoder.encode([texts[i] for i in part]), strict=True):
            vectors[i] = vector
    return np.stack(vectors)


def _rows_by_source(examples: Sequence[Example]) -> dict[str, NDArray[np.intp]]:
    """Places among the valid examples."""
    valid = [one.source for one in examples if not one.is_train]
    return {source: np.flatnonzero(np.array(valid) == source) for source in sorted(set(valid))}


def _counts(examples: Sequence[Example]) -> Any:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    found = Counter(
        (f"{one.source}.{'train' if one.is_train else 'valid'}", one.label) for one in examples
    )
    for (place, label), number in sorted(found.items()):
        counts[place][label] = number
    return dict(counts)


def _by_label(labels: Sequence[str], there: NDArray[np.bool_], values: Any) -> dict[str, float]:
    return {
        label: round(float(value), 4)
        for label, is_there, value in zip(labels, there, values, strict=True)
        if is_there
    }
