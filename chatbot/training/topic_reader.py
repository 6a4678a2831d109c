"""Teaches the reader of topics from labelled texts: its upper layers and its head.

What the frozen layers make of the texts is computed once for all readers that are taught, of one
part of the texts or another.

Shapes: `m` texts, `B` of a batch, `T` pieces of a text, `H` hidden size, `O` outputs.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatbot.devices import is_bfloat16_native
from chatbot.pair_reading import Ids, rows_of
from chatbot.topic_reader import TopicReader
from chatbot.training.fine_tuning import FineTuner, share_of_rate

logger = logging.getLogger(__name__)

_BATCH_READ = 64

Loss = Callable[[Tensor, NDArray[np.int64]], Tensor]
"""Of (B, O) logits and the numbers of their texts, (B,)."""


@dataclass(frozen=True, slots=True)
class TopicLesson:
    """How the reader is taught.

    Attributes:
        rate: of the layers.
        head_rate: of the head, which starts from nothing.
    """

    epochs: int = 3
    batch: int = 32
    rate: float = 1e-4
    head_rate: float = 5e-4
    weight_decay: float = 0.01
    warm_up_steps: int = 60
    seed: int = 0


class TopicTexts:
    """Texts as the frozen layers of a reader give them, (T, H) each; about 0.8 kB a piece."""

    def __init__(self, texts: Sequence[str], n_out: int):
        self._n_out = n_out
        self._place = {text: row for row, text in enumerate(texts)}
        reader = self._untrained()
        self.ids: list[Ids] = reader.ids(texts)
        self._lower: list[Tensor] = [torch.empty(0)] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(self.ids[i]))
        with torch.inference_mode(), _cast():
            for start in range(0, len(order), _BATCH_READ):
                places = order[start : start + _BATCH_READ]
                hidden = reader.lower(rows_of([([], [self.ids[i]]) for i in places]))
                for i, states in zip(places, hidden.to(torch.bfloat16), strict=True):
                    self._lower[i] = states[: len(self.ids[i])].clone()

    def _untrained(self) -> TopicReader:
        return TopicReader.untrained(self._n_out).eval().requires_grad_(False)

    def taught(self, rows: NDArray[np.int64], loss_of: Loss, lesson: TopicLesson) -> TopicReader:
        """A reader taught from some of the texts.

        Args:
            rows: (m,) numbers of the texts to learn from.
        """
        torch.manual_seed(lesson.seed)
        reader = self._untrained()
        tuner = FineTuner(
            reader, rate=lesson.rate, head_rate=lesson.head_rate, weight_decay=lesson.weight_decay
        )
        steps, step = lesson.epochs * math.ceil(len(rows) / lesson.batch), 0
        for epoch in range(lesson.epochs):
            reader.train()
            total = 0.0
            for places in self._batches(rows, lesson.batch):
                loss = loss_of(self._logits(reader, places), places)
                share = share_of_rate(step, step / steps, lesson.warm_up_steps)
                total += tuner.step(loss, share)
                step += 1
            logger.info("epoch %d: loss %.4f", epoch + 1, total * lesson.epochs / steps)
        return reader.eval().requires_grad_(False)

    @torch.inference_mode()
    def read(self, reader: TopicReader, texts: Sequence[str]) -> NDArray[np.float32]:
        """(m, O) logits of some of the texts, by a reader taught from others."""
        rows = np.array([self._place[text] for text in texts])
        order = np.argsort([len(self.ids[row]) for row in rows], kind="stable")
        found = np.zeros((len(rows), self._n_out), np.float32)
        for start in range(0, len(order), _BATCH_READ):
            places = order[start : start + _BATCH_READ]
            found[places] = self._logits(reader, rows[places]).float().numpy()
        return found

    def _batches(self, rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        """Texts of about one length together, the batches in any order."""
        mixed = rows[torch.randperm(len(rows)).numpy()]
        order = np.argsort([len(self.ids[i]) for i in mixed], kind="stable")
        batches = np.array_split(mixed[order], math.ceil(len(rows) / size))
        return [batches[i] for i in torch.randperm(len(batches)).tolist()]

    def _logits(self, reader: TopicReader, places: NDArray[np.int64]) -> Tensor:
        """(B, O)."""
        hidden = nn.utils.rnn.pad_sequence([self._lower[i] for i in places], batch_first=True)
        with _cast():
            return reader.upper(hidden, rows_of([([], [self.ids[i]]) for i in places]))


def _cast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16_native())
