"""Teaches the reader of turns from labelled replies: its upper layers and its head."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chatbot.devices import is_bfloat16_native
from chatbot.pair_reading import Rows, rows_of
from chatbot.training.fine_tuning import FineTuner, share_of_rate
from chatbot.turn_reader import TurnReader


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply to learn from.

    Attributes:
        turn: what it answers; empty for none.
        weight: in the loss.
    """

    turn: str
    text: str
    is_unethical: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ReaderLesson:
    """How the reader is taught.

    Attributes:
        rate: of the layers.
        head_rate: of the head, which starts from nothing.
        smoothing: of the labels, some of which are wrong.
    """

    epochs: int = 2
    batch: int = 32
    rate: float = 1.5e-4
    head_rate: float = 8e-4
    weight_decay: float = 0.01
    warm_up_steps: int = 60
    smoothing: float = 0.03
    seed: int = 0


def train_reader(
    reader: TurnReader,
    readings: Sequence[Reading],
    lesson: ReaderLesson,
    *,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:
    """Trains the reader in place.

    The batches are the same in every epoch, of texts of about one length, in another order: what
    the frozen layers make of them is computed once and kept, 0.8 kB a piece.

    Args:
        on_epoch: gets the number of epochs done and the mean loss of the last.
    """
    torch.manual_seed(lesson.seed)
    tuner = FineTuner(
        reader, rate=lesson.rate, head_rate=lesson.head_rate, weight_decay=lesson.weight_decay
    )
    batches = _batches(reader, readings, lesson.batch)
    steps, step = lesson.epochs * len(batches), 0
    cast = torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16_native())
    reader.eval()
    with torch.no_grad(), cast:
        lower = [reader.lower(batch.rows).to(torch.bfloat16) for batch in batches]
    for epoch in range(lesson.epochs):
        reader.train()
        total = 0.0
        for place in torch.randperm(len(batches)).tolist():
            with cast:
                odds = reader.upper(lower[place], batches[place].rows)
            loss = batches[place].loss(odds, lesson.smoothing)
            total += tuner.step(loss, share_of_rate(step, step / steps, lesson.warm_up_steps))
            step += 1
        reader.eval()
        on_epoch(epoch + 1, total / len(batches))
    reader.requires_grad_(False)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows with what is known of their replies, (R,) each."""

    rows: Rows
    target: Tensor
    weight: Tensor

    def loss(self, odds: Tensor, smoothing: float) -> Tensor:
        soft = self.target * (1 - 2 * smoothing) + smoothing
        each = nn.functional.binary_cross_entropy_with_logits(odds, soft, reduction="none")
        return (each * self.weight).mean()


def _batches(reader: TurnReader, readings: Sequence[Reading], size: int) -> list[_Batch]:
    replies = reader.reply_ids([one.text for one in readings])
    pairs = [(reader.turn_ids(one.turn), [ids]) for one, ids in zip(readings, replies, strict=True)]
    # Shuffled first, so that texts of one length come together whatever their source.
    mixed = torch.randperm(len(pairs)).tolist()
    order = sorted(mixed, key=lambda i: len(pairs[i][0]) + len(pairs[i][1][0]))
    batches = []
    for k in range(math.ceil(len(order) / size)):
        places = order[k * size : (k + 1) * size]
        batches.append(
            _Batch(
                rows_of([pairs[i] for i in places]),
                torch.tensor([float(readings[i].is_unethical) for i in places]),
                torch.tensor([readings[i].weight for i in places]),
            )
        )
    return batches
