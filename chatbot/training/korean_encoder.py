"""Teaches the Korean encoder: the vector of a Korean sentence shall be that of its translation.

Distillation after Reimers and Gurevych (2020): the teacher reads the English sentence, the student
the Korean one. Labelled Korean texts shape the space further: a linear layer on the student's
vector has to tell the labels of each set, which parallel sentences alone teach only by chance.
"""

import json
import lzma
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from chatbot.embedding import Vectors
from chatbot.errors import TrainingError
from chatbot.korean_encoder import KoreanEncoder, KoreanEncoderConfig, Parts
from chatbot.ngrams import split_words

_CONTRAST_SCALE = 20.0
"""Of cosines before the softmax over the batch, as all-MiniLM-L6-v2 was trained."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """How the student is taught.

    Attributes:
        epochs: passes over the pairs.
        batch: pairs a step; every second step has half as many labelled texts.
        learning_rate: the highest; it rises over the first tenth and falls to nothing.
        contrast: weight of finding the right one among the batch's translations.
        labels: weight of telling the labels.
        word_dropout: share of words left out while training.
    """

    epochs: int = 4
    batch: int = 512
    learning_rate: float = 2e-3
    contrast: float = 0.2
    labels: float = 0.1
    word_dropout: float = 0.1
    seed: int = 0


def train(
    korean: Sequence[str],
    teacher: Vectors,
    labelled: Mapping[str, Sequence[tuple[str, str]]],
    *,
    config: KoreanEncoderConfig | None = None,
    lesson: Lesson | None = None,
    watch: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> KoreanEncoder:
    """A student for n Korean sentences and the teacher's vectors of their translations, (n, D).

    Args:
        labelled: (text, label) of each labelled set.
        watch: gets the step, the number of steps and the loss.
    """
    config, lesson = config or KoreanEncoderConfig(), lesson or Lesson()
    torch.manual_seed(lesson.seed)
    student = KoreanEncoder(config)
    draw = np.random.default_rng(lesson.seed)
    tasks = [_task(rows, config.dimensions) for rows in labelled.values()]
    heads = nn.ModuleList(task.head for task in tasks)
    share = np.array([len(task.texts) for task in tasks], float) ** 0.5
    others = [one for name, one in student.named_parameters() if name != "parts.weight"]
    steps = lesson.epochs * max(1, len(korean) // lesson.batch)
    rate = lesson.learning_rate
    optimizer = PartsOptimizer(
        student, [*others, *heads.parameters()], part_rate=3 * rate, rate=rate, steps=steps
    )
    target = torch.from_numpy(np.asarray(teacher, np.float32))
    pairs = batches([len(text) for text in korean], lesson.batch, draw)
    student.train()
    for step in range(steps):
        rows = next(pairs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            texts = thinned(student, [korean[i] for i in rows], lesson.word_dropout, draw)
            loss = _pair_loss(student(texts), target[rows], lesson.contrast)
            if tasks and step % 2:
                task = tasks[draw.choice(len(tasks), p=share / share.sum())]
                loss = loss + lesson.labels * task.loss(student, lesson, draw)
        student.zero_grad()
        heads.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        optimizer.step()
        watch(step + 1, steps, float(loss.detach()))
    return student.eval()


@dataclass(slots=True)
class _Task:
    """A labelled set with the layer that has to tell its labels."""

    texts: list[str]
    labels: Tensor  # (n,)
    head: nn.Linear

    def loss(self, student: KoreanEncoder, lesson: Lesson, draw: np.random.Generator) -> Tensor:
        rows = draw.choice(len(self.texts), min(lesson.batch // 2, len(self.texts)), replace=False)
        texts = thinned(student, [self.texts[i] for i in rows], lesson.word_dropout, draw)
        # Unit vectors have small coordinates: without the factor the layer would have to grow.
        logits = self.head(_CONTRAST_SCALE * student(texts))
        return nn.functional.cross_entropy(logits, self.labels[rows])


def _task(rows: Sequence[tuple[str, str]], dimensions: int) -> _Task:
    names = sorted({label for _, label in rows})
    labels = torch.tensor([names.index(label) for _, label in rows])
    return _Task([text for text, _ in rows], labels, nn.Linear(dimensions, len(names)))


def thinned(
    student: KoreanEncoder, texts: Sequence[str], dropout: float, draw: np.random.Generator
) -> Parts:
    """The texts read, some of their words left out."""
    kept = []
    for text in texts:
        words = split_words(text)
        kept.append(" ".join(w for w in words if draw.random() >= dropout) or text)
    return student.read(kept)


def _pair_loss(vectors: Tensor, target: Tensor, contrast: float) -> Tensor:
    """How far (B, D) are from (B, D), and how often another of the batch is as near."""
    likeness = vectors.float() @ target.T  # (B, B)
    right = torch.arange(len(target))
    apart = (1 - likeness.diagonal()).mean()
    return 10 * apart + contrast * nn.functional.cross_entropy(_CONTRAST_SCALE * likeness, right)


def batches(lengths: Sequence[int], size: int, draw: np.random.Generator) -> Iterator[list[int]]:
    """Rows without end, each once in a pass; those of a batch are of like length."""
    n_batches = max(1, len(lengths) // size)
    while True:
        # Shuffled, then sorted roughly: batches differ from pass to pass, and little is padded.
        order = np.argsort(np.asarray(lengths) * draw.uniform(0.8, 1.25, len(lengths)))
        batches = np.array_split(order, n_batches)
        for number in draw.permutation(n_batches):
            yield batches[number].tolist()


class PartsOptimizer:
    """Steps of an encoder's part vectors, of which each touches few, and of all else.

    The gradient of the part vectors is sparse, which AdamW cannot take.
    """

    def __init__(
        self,
        encoder: KoreanEncoder,
        others: Sequence[nn.Parameter],
        *,
        part_rate: float,
        rate: float,
        steps: int,
        weight_decay: float = 0.01,
    ):
        """For a training of so many steps; `weight_decay` is of the others."""
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam([encoder.parts.weight], lr=part_rate),
            torch.optim.AdamW(others, lr=rate, weight_decay=weight_decay),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(one, lambda step: _rate_share(step, steps))
            for one in self._optimizers
        ]

    def step(self) -> None:
        """A step down the gradients, and along the schedule."""
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()


def _rate_share(step: int, steps: int) -> float:
    """Of the learning rate: up over the first tenth, then down to nothing along a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def read_pairs(file: Path) -> dict[str, list[tuple[str, str]]]:
    """(Korean, English) sentences by split, of lines with en, ko and split.

    Raises:
        TrainingError: the file cannot be read, or has no training or validation pairs.
    """
    pairs: dict[str, list[tuple[str, str]]] = {"train": [], "valid": []}
    for record in _records(file, ("en", "ko", "split")):
        pairs.setdefault(record["split"], []).append((record["ko"], record["en"]))
    if not pairs["train"] or not pairs["valid"]:
        raise TrainingError(f"{file} lacks pairs of the split train or valid; give both")
    return pairs


def read_labelled(file: Path) -> list[tuple[str, str]]:
    """(text, label) of the training lines of a file.

    Raises:
        TrainingError: as of `read_pairs`.
    """
    records = _records(file, ("text", "label", "split"))
    rows = [(one["text"], one["label"]) for one in records if one["split"] == "train"]
    if not rows:
        raise TrainingError(f"{file} has no lines of the split train; leave it out")
    return rows


def _records(file: Path, keys: Sequence[str]) -> Iterator[dict[str, str]]:
    read = lzma.open if file.suffix == ".xz" else open
    n_read = 0
    try:
        with read(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                n_read += 1
                record = json.loads(line)
                yield {key: record[key] for key in keys}
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{file}, line {n_read}: {error!r}; a line has {', '.join(keys)}"
        ) from error


def retrieval(
    student: KoreanEncoder, pairs: Sequence[tuple[str, str]], teacher: Vectors
) -> tuple[float, float]:
    """Share of Korean sentences nearest to their own translation, and the mean cosine to it.

    Args:
        teacher: (n, D) vectors of the English sides.
    """
    likeness = student.encode([korean for korean, _ in pairs]) @ teacher.T
    right = likeness.argmax(1) == np.arange(len(pairs))
    return float(right.mean()), float(likeness.diagonal().mean())
