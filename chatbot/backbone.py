"""Loads a generator and gives the decoding loop the five things it needs of one.

Knows devices, number types and the digest of the weights; knows nothing of sampling.

Shapes: `G` conversations, `N` candidates of each, `B = G * N` decoder rows, `S` context length,
`H` hidden size, `V` pieces.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, PreTrainedTokenizerFast

from chatbot.errors import ModelError
from chatbot.meena import MeenaCache, MeenaForConditionalGeneration
from chatbot.prompt import SPECIAL_TOKENS, SpecialIds

_UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError)
"""What libraries raise at files that are missing, broken, or do not belong together."""

SHIPPED = Path(__file__).parent / "pretrained"


@dataclass(slots=True)
class DecodingState:
    """What the rows of one decoding batch remember; belongs to one call."""

    cache: MeenaCache
    memory_mask: Tensor | None  # (G, S) bool, True for context; None where none is padded

    def detached(self) -> "DecodingState":
        """The same numbers, through which no gradient goes."""
        blocks = [block.detached() for block in self.cache]
        return DecodingState(MeenaCache(blocks), self.memory_mask)


class Backbone:
    """A Meena model with its tokenizer, read-only after loading and safe to share by threads."""

    def __init__(
        self,
        model: MeenaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        digest: str,
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.identity = {"name": name, "digest": digest}
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing:
            raise ModelError(
                f"the tokenizer of {name} lacks {', '.join(missing)}; export the model again "
                "with the tokenizer it was trained with"
            )
        self.special = SpecialIds(*(vocabulary[token] for token in SPECIAL_TOKENS))

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, device: str = "auto", dtype: str = "auto"
    ) -> "Backbone":
        """The shipped generator, or the one in a folder or on the hub.

        Args:
            model: a folder or a hub name; None for the shipped weights.
            device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
            dtype: "auto" (bfloat16 where the device multiplies it natively, else float32),
                "float32", "bfloat16" or "float16".

        Raises:
            ModelError: no such model, a file is missing, or it is no Meena model.
        """
        place = _find(model)
        try:
            config = AutoConfig.from_pretrained(place)
            if config.model_type != "meena":
                raise ModelError(
                    f"{model} is a {config.model_type!r} model; this version talks with 'meena' "
                    "models, such as those of `chatbot train export`"
                )
            tokenizer = PreTrainedTokenizerFast.from_pretrained(place, split_special_tokens=True)
            on = _device(device)
            loaded: Any = MeenaForConditionalGeneration.from_pretrained(
                place, dtype=_dtype(dtype, on), use_safetensors=True, output_loading_info=True
            )
            network, report = loaded  # typed as the model alone
        except _UNLOADABLE as error:
            why = str(error).strip().partition("\n")[0].rstrip(" .:")
            raise ModelError(
                f"cannot load the model {model or place}: {why}. Give a folder made by "
                "`chatbot train export`, or the name of a model that is on this machine already"
            ) from error
        if report["missing_keys"]:  # they would be random
            raise ModelError(
                f"the weights of {model or place} lack {len(report['missing_keys'])} of those that "
                "its config.json tells of; export the model again with `chatbot train export`"
            )
        name = "shipped" if model is None else Path(place).name
        network.to(on)
        return cls(network, tokenizer, name=name, digest=_digest(Path(place)))

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def vocab_size(self) -> int:
        return self.model.config.vocab_size

    @property
    def max_context(self) -> int:
        """Most pieces of a prompt."""
        return int(self.model.config.max_context)

    def output_embedding(self) -> Tensor:
        """(V, H), what final hidden states are multiplied with to give logits."""
        return self.model.get_output_embeddings().weight

    def pieces(self, text: str) -> list[int]:
        """Ids of a text, never a special one."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def start(self, prompts: Sequence[Sequence[int]], candidates: int) -> DecodingState:
        """Encodes G prompts once, for `candidates` rows each."""
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self.special.pad, dtype=torch.long)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        ids = ids.to(self.device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        mask = torch.arange(longest, device=self.device) < lengths[:, None]  # (G, S)
        memory = self.model.model.encode(ids, mask)
        cache = self.model.model.start_cache(memory, len(prompts) * candidates)
        is_padded = any(len(prompt) < longest for prompt in prompts)
        return DecodingState(cache, mask if is_padded else None)

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """Final hidden states (B, H) after reading one more id per row (B,); and the new state."""
        hidden, cache, _ = self.model.model.decode(ids[:, None], state.cache, state.memory_mask)
        return hidden[:, -1], DecodingState(cache, state.memory_mask)

    def soft_step(self, probs: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """As `step`, after the mean embedding under `probs` (B, V) in place of an id."""
        model = self.model.model
        table = model.shared.weight
        mean = (probs.to(table.dtype) @ table)[:, None]  # (B, 1, H)
        x = model.placed(mean, state.cache.get_seq_length())
        hidden, cache, _ = model.decode_embedded(x, state.cache, state.memory_mask)
        return hidden[:, -1], DecodingState(cache, state.memory_mask)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, H) -> (B, V) float32."""
        return self.model.lm_head(hidden).float()

    def reply_states(
        self, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """Final hidden states (T, H) before each piece of each reply, all read at once."""
        state = self.start(prompts, 1)
        longest = max(map(len, replies))
        ids = torch.full((len(replies), longest), self.special.bos, dtype=torch.long)
        for row, reply in zip(ids, replies, strict=True):
            row[1 : len(reply)] = torch.tensor(reply[:-1])
        hidden, _, _ = self.model.model.decode(ids.to(self.device), state.cache, state.memory_mask)
        return [rows[: len(reply)] for rows, reply in zip(hidden, replies, strict=True)]

    def keep_rows(self, state: DecodingState, rows: Tensor) -> None:
        """Drops the rows not in `rows`; every conversation must keep equally many."""
        state.cache.select_rows(rows)


def _find(model: str | Path | None) -> str:
    if model is None:
        if not (SHIPPED / "config.json").is_file():
            raise ModelError(
                f"the shipped generator is missing ({SHIPPED}); reinstall the package, "
                "or give a model folder made by `chatbot train export`"
            )
        return str(SHIPPED)
    path = Path(model).expanduser()
    is_hub_name = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(model)) is not None
    if not path.exists() and not is_hub_name:
        raise ModelError(f"there is no folder {path}; give one made by `chatbot train export`")
    if path.exists() and not (path / "config.json").is_file():
        raise ModelError(f"{path} has no config.json; give a folder made by `chatbot train export`")
    return str(path) if path.exists() else str(model)


def _device(name: str) -> torch.device:
    if name != "auto":
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ModelError(f"unknown device {name!r}; give auto, cpu, cuda or mps") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"device {name!r} asked for, but torch sees no CUDA device; use cpu")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name in known:
        return known[name]
    if name != "auto":
        raise ModelError(f"unknown dtype {name!r}; give auto, {', '.join(known)}")
    native = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def _digest(folder: Path) -> str:
    """SHA-256 over the weight files of a local folder; empty for a model from the hub."""
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest() if files else ""
