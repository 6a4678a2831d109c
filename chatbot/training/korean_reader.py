"""Teaches the reader of Korean replies from labelled ones, beginning at the Korean encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from chatbot.korean_encoder import KoreanEncoder, packed, unpacked
from chatbot.korean_reader import KoreanReader
from chatbot.training.korean_encoder import PartsOptimizer, batches, thinned


@dataclass(frozen=True, slots=True)
class KoreanReading:
    """A reply to learn from.

    Attributes:
        raters: who judged it, the source of the label.
        weight: in the loss.
    """

    text: str
    is_unethical: bool
    raters: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class KoreanReaderLesson:
    """How the reader is taught.

    Attributes:
        rate: of the layers.
        part_rate: of the part vectors, of which a step touches few.
        style: weight of telling whose texts they are.
        smoothing: of the labels, some of which are wrong.
        word_dropout: share of words left out while training.
    """

    epochs: int = 4
    batch: int = 128
    rate: float = 1e-3
    part_rate: float = 4e-3
    weight_decay: float = 0.01
    style: float = 0.2
    smoothing: float = 0.03
    word_dropout: float = 0.2
    seed: int = 0


def train_korean_reader(
    encoder: KoreanEncoder,
    readings: Sequence[KoreanReading],
    lesson: KoreanReaderLesson,
    *,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> KoreanReader:
    """A reader that begins with the weights of the encoder, which is trained in place.

    Args:
        on_step: gets the step, the number of steps and the loss.
    """
    torch.manual_seed(lesson.seed)
    draw = np.random.default_rng(lesson.seed)
    names = sorted({one.raters for one in readings})
    reader = KoreanReader(encoder.requires_grad_(True), names).train()
    raters = torch.tensor([names.index(one.raters) for one in readings])
    target = torch.tensor([float(one.is_unethical) for one in readings])
    weight = torch.tensor([one.weight for one in readings])
    soft = target * (1 - 2 * lesson.smoothing) + lesson.smoothing
    others = [one for one in reader.parameters() if one is not encoder.parts.weight]
    steps = lesson.epochs * max(1, len(readings) // lesson.batch)
    optimizer = PartsOptimizer(
        encoder, others, part_rate=lesson.part_rate, rate=lesson.rate, steps=steps,
        weight_decay=lesson.weight_decay,
    )  # fmt: skip
    drawn = batches([len(one.text) for one in readings], lesson.batch, draw)
    for step in range(steps):
        rows = next(drawn)
        texts = [readings[i].text for i in rows]
        odds, style = reader(thinned(encoder, texts, lesson.word_dropout, draw))
        loss = _loss(odds, style, raters[rows], soft[rows], weight[rows], lesson.style)
        reader.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        optimizer.step()
        on_step(step + 1, steps, float(loss.detach()))
    reader.load_state_dict(unpacked(packed(reader.state_dict())))  # as it is loaded again
    return reader.eval().requires_grad_(False)


def _loss(
    odds: Tensor, style: Tensor, raters: Tensor, soft: Tensor, weight: Tensor, share: float
) -> Tensor:
    """Of (B, R) log-odds and styles, with (B,) raters, targets and weights."""
    own = odds.gather(1, raters[:, None]).squeeze(1)
    each = nn.functional.binary_cross_entropy_with_logits(own, soft, reduction="none")
    return (each * weight).mean() + share * nn.functional.cross_entropy(style, raters)
