"""Korean texts as vectors in the space of an English encoder that knows no Korean.

A word is the sum of the vectors of its parts: runs of syllables, and runs of letters, so that a
stem is known again under another ending. A transformer layer then reads the words in order.
Parts are hashed (Bojanowski et al. 2017), so there is no vocabulary and no unknown word. Knows
nothing of how it was trained (`chatbot.training.korean_encoder`).

Shapes: `B` texts, `W` words of the longest, `P` parts of all words together, `D` dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chatbot.errors import ModelError, reason_of
from chatbot.ngrams import split_words, word_parts

FOLDER = Path(__file__).with_name("pretrained_encoder")
RETRAIN = "train it with `chatbot train korean-encoder`"


@dataclass(frozen=True, slots=True)
class KoreanEncoderConfig:
    """Sizes of the encoder.

    Attributes:
        buckets: vectors of parts; parts that share a bucket share a vector.
        width: of a word vector.
        dimensions: of the result, those of the teacher, D.
        max_words: the end of a longer text is not read.
    """

    buckets: int = 65_536
    width: int = 128
    layers: int = 1
    heads: int = 4
    dimensions: int = 384
    max_words: int = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """The texts of a batch as the encoder reads them.

    Attributes:
        ids: (P,) int64, buckets of all parts of all words, one word behind the other.
        starts: (number of words,) int64, where each word's parts begin in `ids`.
        mask: (B, W) bool, True where a text has a word; each row has at least one.
    """

    ids: Tensor
    starts: Tensor
    mask: Tensor


class KoreanEncoder(nn.Module):
    """Texts to unit vectors, (B, D)."""

    def __init__(self, config: KoreanEncoderConfig):
        super().__init__()
        self.config = config
        self.parts = nn.EmbeddingBag(config.buckets, config.width, mode="mean", sparse=True)
        self.places = nn.Embedding(config.max_words, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, dropout=0.1, activation="gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(2 * config.width, config.dimensions)
        nn.init.normal_(self.parts.weight, std=1.0)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, batch: Parts) -> Tensor:
        """(B, D) unit vectors."""
        return nn.functional.normalize(self.features(batch), dim=-1)

    def features(self, batch: Parts) -> Tensor:
        """(B, D) of any length: of the mean and of the maximum over the words."""
        n_texts, n_words = batch.mask.shape
        words = self.parts(batch.ids, batch.starts)
        hidden = words.new_zeros(n_texts, n_words, self.config.width)
        hidden[batch.mask] = words.to(hidden.dtype)
        hidden = hidden + self.places.weight[:n_words]
        hidden = self.norm(self.layers(hidden, src_key_padding_mask=~batch.mask))
        weights = batch.mask.unsqueeze(-1).float()  # (B, W, 1)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        most = hidden.masked_fill(~batch.mask.unsqueeze(-1), float("-inf")).amax(1)
        out: Tensor = self.out(torch.cat([mean, most], 1))
        return out

    def read(self, texts: Sequence[str]) -> Parts:
        """The texts split and hashed; an empty one is a word without letters."""
        words = [(split_words(text) or [""])[: self.config.max_words] for text in texts]
        parts = [word_parts(word, self.config.buckets) for one in words for word in one]
        mask = torch.zeros(len(texts), max(len(one) for one in words), dtype=torch.bool)
        for row, one in enumerate(words):
            mask[row, : len(one)] = True
        sizes = torch.tensor([0, *(len(one) for one in parts[:-1])])
        ids = torch.tensor([bucket for one in parts for bucket in one])
        return Parts(ids, sizes.cumsum(0), mask)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
        """(n, D) unit vectors of n texts, at least one."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), self.config.dimensions), np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self(self.read([texts[i] for i in rows])).numpy()
        return vectors

    def save(self, folder: Path) -> None:
        """Writes model.safetensors, as `packed` has it, and config.json."""
        import json

        from safetensors.torch import save_file

        save_file(packed(self.state_dict()), folder / "model.safetensors")
        text = json.dumps(asdict(self.config), indent=1) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "KoreanEncoder":
        """The encoder of a folder that `save` wrote.

        Raises:
            ModelError: a file is missing or not what it should be.
        """
        import json

        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            config = KoreanEncoderConfig(**json.loads((folder / "config.json").read_text("utf-8")))
            with torch.device("meta"):
                encoder = cls(config)
            tensors = load_file(folder / "model.safetensors")
            encoder.load_state_dict(unpacked(tensors), assign=True)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the Korean encoder in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error
        return encoder.eval().requires_grad_(False)


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model as they are shipped: part vectors in 8 bits, the rest in 16.

    Each part vector has a scale of its own, its largest value / 127.
    """
    tensors = {}
    for name, tensor in state.items():
        if name.endswith("parts.weight"):
            scale = (tensor.abs().amax(1, keepdim=True) / 127).clamp_min(1e-6).to(torch.float16)
            tensors[name.replace("weight", "scale")] = scale
            tensors[name.replace("weight", "int8")] = (
                (tensor / scale.float()).round().clamp(-127, 127).to(torch.int8)
            )
        else:
            tensors[name] = tensor.to(torch.float16).contiguous()
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `packed` packed, in float32."""
    state = {}
    for name, tensor in tensors.items():
        if name.endswith("parts.int8"):
            scale = tensors[name.replace("int8", "scale")]
            state[name.replace("int8", "weight")] = tensor.float() * scale.float()
        elif not name.endswith("parts.scale"):
            state[name] = tensor.float()
    return state
