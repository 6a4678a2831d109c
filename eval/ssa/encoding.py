"""MiniLM on texts and on pairs, each result the same to the last bit whatever else is asked for.

Sums of floats depend on the shape of the batch. Here every batch has one of few shapes, filled up
with padding, so that scoring a file in other portions gives the same file.

Shapes: `n` texts or pairs, `D` dimensions of a text's vector.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from chatbot.embedding import minilm_folder
from chatbot.errors import ModelError
from chatbot.pair_reading import Ids, rows_of
from eval.ssa.model import PairReader, Plausibility

Floats = NDArray[np.float32]

_ROWS = 8
_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
_MAX_PIECES = 128


class Encoders:
    """The shared tokenizer, MiniLM as it came, and the reader of pairs made from it.

    Attributes:
        dimensions: of a text's vector.
    """

    def __init__(self, plain: BertModel, reading: Plausibility, tokenizer: Any):
        self._plain = plain.eval().requires_grad_(False)
        self._reading = reading.eval().requires_grad_(False)
        self._reader = PairReader(tokenizer)
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.dimensions = plain.config.hidden_size

    @classmethod
    def load(cls, file: Path) -> "Encoders":
        """MiniLM of its package, and the reader whose changed weights are in `file`.

        Raises:
            ModelError: MiniLM is missing, or the file is not of this reader.
        """
        reading, tokenizer = new_reader()
        changed = load_file(file)
        expected = dict(reading.trained())
        if {k: v.shape for k, v in changed.items()} != {k: v.shape for k, v in expected.items()}:
            raise ModelError(f"{file} has other weights than this version reads; train it again")
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(changed[name].float())
        return cls(_new_encoder(), reading, tokenizer)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> Floats:
        """(n, D) unit vectors of normalised texts, as sentence-transformers makes them."""
        rows = [
            [self._cls, *self._reader.pieces(text)[: _MAX_PIECES - 2], self._sep] for text in texts
        ]
        result = np.zeros((len(texts), self.dimensions), np.float32)
        for where, width in _same_shapes([len(row) for row in rows]):
            ids = torch.zeros(_ROWS, width, dtype=torch.long)
            mask = torch.zeros(_ROWS, width, dtype=torch.long)
            mask[:, 0] = 1  # an empty row would divide by nothing
            for place, n in enumerate(where):
                ids[place, : len(rows[n])] = torch.tensor(rows[n])
                mask[place, : len(rows[n])] = 1
            hidden = self._plain(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            result[where] = torch.nn.functional.normalize(mean, dim=1)[: len(where)].numpy()
        return result

    @torch.inference_mode()
    def reads(self, pairs: Sequence[tuple[Sequence[str], str]]) -> Floats:
        """(n,) logits of each normalised reply making sense after its context."""
        groups = [(self._reader.context(c), [self._reader.reply(r)]) for c, r in pairs]
        filler: tuple[Ids, list[Ids]] = ([self._cls], [[self._cls, self._sep]])
        result = np.zeros(len(pairs), np.float32)
        for where, width in _same_shapes([len(c) + len(rs[0]) for c, rs in groups]):
            rows = [groups[n] for n in where] + [filler] * (_ROWS - len(where))
            logits: Tensor = self._reading(rows_of(rows, width=width))
            result[where] = logits[: len(where)].numpy()
        return result


def new_reader() -> tuple[Plausibility, Any]:
    """A reader with MiniLM's weights and an untrained head, and the tokenizer."""
    return Plausibility(_new_encoder()), AutoTokenizer.from_pretrained(minilm_folder())


def save_reader(network: Plausibility, file: Path) -> None:
    """Stores what training changed, in float16."""
    save_file({k: p.detach().half().contiguous() for k, p in network.trained()}, file)


def _new_encoder() -> BertModel:
    encoder: BertModel = BertModel.from_pretrained(
        minilm_folder(), dtype=torch.float32, use_safetensors=True
    )
    return encoder


def _same_shapes(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Places of rows that go in one batch, and the width that they are padded to."""
    width_of: Callable[[int], int] = lambda n: next(w for w in _WIDTHS if w >= n)  # noqa: E731
    order = sorted(range(len(lengths)), key=lambda place: (width_of(lengths[place]), place))
    batch: list[int] = []
    for place in order:
        if batch and (
            len(batch) == _ROWS or width_of(lengths[batch[0]]) != width_of(lengths[place])
        ):
            yield batch, width_of(lengths[batch[0]])
            batch = []
        batch.append(place)
    if batch:
        yield batch, width_of(lengths[batch[0]])
