"""Text encoders of others: models of sentence-transformers, and plain transformers, pooled here.

Knows how each kind is read from a folder and what it may be used for; refuses what would give
vectors of chance. Knows nothing of caches, languages or what the vectors are for.

Shapes: `B` texts, `T` pieces of the longest, `H` hidden size, `D` dimensions of a vector.
"""

import hashlib
import inspect
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from chatbot.errors import ModelError, reason_of
from chatbot.even_rows import keep_sizes_few
from chatbot.hub import digest_of_file, weight_files

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pooling = Literal["mean", "cls", "max"]

MOST_PIECES = 512
"""Of a text, where neither model nor tokenizer says how many they read."""

_NO_ENCODER = {
    "ForSequenceClassification": (
        "rates texts or pairs of them (a cross-encoder or classifier): without its head it gives "
        "no vectors worth comparing"
    ),
    "ForCausalLM": "writes text and does not read it both ways",
    "ForConditionalGeneration": "writes text; it is no encoder",
}
"""What models with such a name are for; they load as encoders all the same, and mislead."""

_VOLATILE = ("_name_or_path", "transformers_version", "__version__", "torch_dtype", "dtype")
"""Entries of configurations that change when a model is saved again, the vectors do not."""

_IDENTITY = (
    "modules.json", "config.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
"""Beside the weights, the files that vectors depend on."""


class TextModel(Protocol):
    """What reads a batch of texts."""

    @property
    def dimensions(self) -> int:
        """D."""

    @property
    def max_pieces(self) -> int | None:
        """Pieces that are read of a text, its end left out; None where there is no limit."""

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(B, D) of B texts, at least one; of any length."""


def load_text_model(
    folder: Path,
    *,
    name: str,
    device: str,
    dtype: str = "float32",
    pooling: Pooling | None = None,
    allow_pickle: bool = False,
) -> TextModel:
    """The model of a folder.

    Args:
        dtype: "float32"; or "bfloat16" or "float16" to be run under autocast to it.
        pooling: of a plain encoder, mean if left out; a model of sentence-transformers has its own.

    Raises:
        ModelError: it cannot be read, is no text encoder, or lacks weights.
    """
    if pooling is not None and pooling not in get_args(Pooling):
        raise ModelError(f"no pooling {pooling!r}; give {', '.join(get_args(Pooling))}")
    is_sentence_model = (folder / "modules.json").is_file()
    if is_sentence_model and pooling is not None:
        raise ModelError(
            f"{name} is a model of sentence-transformers and says itself how it pools; leave "
            "pooling out"
        )
    _check_kind(folder, name)
    from safetensors import SafetensorError

    loaded: SentenceModel | PooledEncoder
    try:
        if is_sentence_model:
            loaded = SentenceModel.load(folder, name=name, device=device, allow_pickle=allow_pickle)
        else:
            loaded = PooledEncoder.load(
                folder, name=name, device=device, pooling=pooling or "mean",
                allow_pickle=allow_pickle,
            )  # fmt: skip
        if dtype != "float32":
            _halve(loaded.model, getattr(torch, dtype))
            keep_sizes_few(loaded.model)  # no two lists of texts are of one size
    except (OSError, ValueError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        why = reason_of(error)
        raise ModelError(
            f"cannot load the text encoder {name}: {why}. Give a folder with config.json, "
            "model.safetensors and a tokenizer, or a hub name"
        ) from error
    return loaded


def _halve(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Keeps what is multiplied in 16 bits, as autocast would make it anew at every call.

    The same bits come out, without a copy of all weights for each batch.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(dtype)


def digest_of(folder: Path, pooling: Pooling | None) -> str:
    """SHA-256 over weights, configurations, tokenizer and pooling of the model in a folder."""
    places = [folder, *(folder / path for path in _module_paths(folder) if path)]
    pools = "its own" if (folder / "modules.json").is_file() else pooling or "mean"
    digest = hashlib.sha256(f"pooling {pools}".encode())
    for place in dict.fromkeys(places):
        configs = [file for one in _IDENTITY if (file := place / one).is_file()]
        for file in [*weight_files(place), *configs]:
            digest.update(f"\n{file.relative_to(folder).as_posix()} ".encode())
            digest.update(_file_digest(file))
    return digest.hexdigest()


def _file_digest(file: Path) -> bytes:
    if file.suffix != ".json" or file.name == "tokenizer.json":
        return bytes.fromhex(digest_of_file(file))
    read = json.loads(file.read_text("utf-8"))
    if isinstance(read, dict):
        read = {key: value for key, value in read.items() if key not in _VOLATILE}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).digest()


def _module_paths(folder: Path) -> list[str]:
    """Where the modules of a model of sentence-transformers lie below its folder."""
    read = _json(folder / "modules.json")
    return [str(one.get("path", "")) for one in read] if isinstance(read, list) else []


def _json(file: Path) -> Any:
    """What a file says; nothing where there is none."""
    try:
        return json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{file} is no JSON ({error}); fetch or save the model again") from error


def _check_kind(folder: Path, name: str) -> None:
    """Refuses models that load as encoders and are none."""
    config = _json(folder / "config.json")
    kind = _json(folder / "config_sentence_transformers.json").get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise ModelError(f"{name} is a {kind}, which gives no vector of a text; give an encoder")
    if (folder / "modules.json").is_file():
        return
    architecture = next(iter(config.get("architectures") or ()), "")
    for ending, why in _NO_ENCODER.items():
        if architecture.endswith(ending):
            raise ModelError(
                f"{name} is a {architecture}: it {why}. Give an encoder, or a model of "
                "sentence-transformers"
            )
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{name} is an encoder-decoder ({config.get('model_type')}); give an encoder, or a "
            "model of sentence-transformers that has one inside"
        )


class PooledEncoder:
    """A plain encoder of transformers (BERT and its kin, XLNet) whose last states are pooled."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        pooling: Pooling = "mean",
    ):
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._takes = inspect.signature(model.forward).parameters.keys()
        self._lock = threading.Lock()  # a tokenizer keeps its padding in itself
        limits = (tokenizer.model_max_length, _readable_positions(model) or MOST_PIECES)
        self._max_pieces = int(min(limits))

    @classmethod
    def load(
        cls, folder: Path, *, name: str, device: str, pooling: Pooling, allow_pickle: bool = False
    ) -> "PooledEncoder":
        """The model of a folder.

        Raises:
            ModelError: weights are missing from the files; they would be random.
        """
        from transformers import AutoModel, AutoTokenizer

        # Typed as the model alone.
        loaded: Any = AutoModel.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True,
            use_safetensors=None if allow_pickle else True,
        )  # fmt: skip
        model, report = loaded
        # Heads on top of the states are not read: mean, cls and max need no pooler.
        missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise ModelError(_lacks(name, missing))
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, split_special_tokens=True
        )
        _check_tokenizer(tokenizer, model.config.vocab_size, name)
        return cls(model.to(device), tokenizer, pooling)

    @property
    def dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def max_pieces(self) -> int:
        return self._max_pieces

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(B, D) in float32."""
        with self._lock:
            read = self._tokenizer(
                list(texts), padding=True, truncation=True, max_length=self._max_pieces,
                return_tensors="pt",
            )  # fmt: skip
        given = {k: v.to(self.model.device) for k, v in read.items() if k in self._takes}
        hidden = self.model(**given).last_hidden_state
        cls_id = self._tokenizer.cls_token_id
        is_cls = given["input_ids"] == (-1 if cls_id is None else cls_id)
        return pooled(hidden, given["attention_mask"].bool(), self._pooling, is_cls)


def _check_tokenizer(tokenizer: "PreTrainedTokenizerBase", n_known: int, name: str) -> None:
    """Refuses a tokenizer of another model, and the empty one that stands for missing files."""
    vocabulary = tokenizer.get_vocab()
    if not vocabulary.keys() - set(tokenizer.all_special_tokens):
        raise ModelError(
            f"{name} has no tokenizer.json nor vocabulary; save its tokenizer beside it"
        )
    if max(vocabulary.values()) >= n_known:
        raise ModelError(
            f"the tokenizer of {name} has {len(tokenizer)} pieces, its model knows {n_known}; save "
            "the two of one model together"
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(f"the tokenizer of {name} has no padding piece; give it a pad_token")


def pooled(hidden: Tensor, mask: Tensor, pooling: Pooling, is_cls: Tensor) -> Tensor:
    """One vector of the states of each text.

    Args:
        hidden: (B, T, H).
        mask: (B, T) bool, True for real pieces, padded on either side.
        is_cls: (B, T) bool, where the piece that stands for the text is: the first of BERT, the
            last of XLNet. The first real piece where there is none.

    Returns:
        (B, H) in float32.
    """
    hidden = hidden.float()
    if pooling == "cls":
        has_cls = is_cls.any(1, keepdim=True)
        at = torch.where(has_cls, is_cls, mask).int().argmax(1)  # the first True
        return hidden[torch.arange(len(hidden), device=hidden.device), at]
    if pooling == "max":
        return hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    weights = mask.unsqueeze(-1).float()  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


class SentenceModel:
    """Any model of sentence-transformers, with the prompt that it has by default."""

    def __init__(self, model: "SentenceTransformer"):
        self.model = model.eval().requires_grad_(False)
        self._prompt = model.prompts.get(model.default_prompt_name or "") or None
        self._lock = threading.Lock()  # as above
        inner = model.transformers_model
        readable = _readable_positions(inner) if inner is not None else None
        if readable is not None and model.max_seq_length is not None:
            # Of RoBERTa's kin the library counts positions that stand for padding.
            model.max_seq_length = min(model.max_seq_length, readable)

    @classmethod
    def load(
        cls, folder: Path, *, name: str, device: str, allow_pickle: bool = False
    ) -> "SentenceModel":
        """The model of a folder.

        Raises:
            ModelError: weights are missing from the files; they would be random.
        """
        from sentence_transformers import SentenceTransformer

        # A string: sentence-transformers 6.2 takes no Path.
        model = SentenceTransformer(
            str(folder), device=device, backend="torch", local_files_only=True,
            model_kwargs={
                "use_safetensors": None if allow_pickle else True, "dtype": torch.float32,
            },
        )  # fmt: skip
        missing = _missing_weights(folder, model)
        if missing:
            raise ModelError(_lacks(name, missing))
        return cls(model)

    @property
    def dimensions(self) -> int:
        size = self.model.get_embedding_dimension()
        assert size is not None
        return size

    @property
    def max_pieces(self) -> int | None:
        return self.model.max_seq_length

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(B, D), as `SentenceTransformer.encode` makes them."""
        with self._lock:
            features = self.model.preprocess(list(texts), prompt=self._prompt)
        device = self.model.device
        on = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in features.items()}
        found: Tensor = self.model(on)["sentence_embedding"]
        return found[:, : self.model.truncate_dim]


def _missing_weights(folder: Path, model: "SentenceTransformer") -> list[str]:
    """Parameters of the transformer inside that no file has, under any prefix.

    The library drops the report of what it could not find and leaves random numbers there.
    """
    from safetensors import safe_open

    inner = model.transformers_model
    files = [
        file for path in _module_paths(folder) for file in (folder / path).glob("*.safetensors")
    ]
    if inner is None or not files:
        return []
    stored: set[str] = set()
    for file in files:
        with safe_open(file, "pt") as opened:
            stored.update(_endings(opened.keys()))
    return sorted(
        name for name, _ in inner.named_parameters()  # tied ones once
        if not name.startswith("pooler.") and name not in stored
    )  # fmt: skip


def _endings(keys: Sequence[str]) -> set[str]:
    """The names, and what is left of them without their first parts; in today's spelling."""
    found: set[str] = set()
    for key in keys:
        renamed = key.replace("LayerNorm.gamma", "LayerNorm.weight")
        parts = renamed.replace("LayerNorm.beta", "LayerNorm.bias").split(".")
        found.update(".".join(parts[start:]) for start in range(len(parts)))
    return found


def _lacks(name: str, missing: Sequence[str]) -> str:
    return (
        f"the weights of {name} lack {len(missing)} of those its config.json tells of "
        f"({missing[0]}, ...): they would be random; fetch or save the model again"
    )


def _readable_positions(model: "PreTrainedModel") -> int | None:
    """Pieces that a model has positions for; None for relative or rotary ones without a limit.

    RoBERTa and its kin number positions from the padding id on, so that some are never read.
    """
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            unused = table.padding_idx if table.padding_idx is not None else -1
            return table.num_embeddings - unused - 1
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
