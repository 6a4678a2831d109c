"""Loads a generator and gives the decoding loop and the steering what they need of one.

Knows devices, number types, the digest of the weights, how turns become a prompt and where a reply
ends; what families of models do differently is in `chatbot.backbones`. Knows nothing of sampling.

Shapes: `G` conversations, `N` candidates of each, `B = G * N` decoder rows, `H` hidden size, `V`
pieces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from chatbot.backbones.base import DecodingState, Ids, Network, Resume
from chatbot.backbones.causal import CausalNetwork
from chatbot.backbones.int8 import to_int8
from chatbot.backbones.limits import begin_of_replies, positions, reply_positions
from chatbot.backbones.meena import MeenaNetwork, MeenaWriter
from chatbot.backbones.prompting import Writer, choose_format
from chatbot.backbones.selftest import disagreements
from chatbot.backbones.seq2seq import Seq2SeqNetwork
from chatbot.devices import find_device, find_dtype
from chatbot.errors import InputError, ModelError, reason_of
from chatbot.even_rows import keep_sizes_few
from chatbot.hub import digest_of_model, digest_of_weights, find_model
from chatbot.meena import MeenaForConditionalGeneration
from chatbot.prompt import Prompt, SpecialIds

__all__ = ["SHIPPED", "Backbone", "DecodingState"]

SHIPPED = Path(__file__).with_name("pretrained")

KNOWN = (
    "meena", "bart", "blenderbot", "blenderbot-small", "mbart", "t5", "mt5", "encoder-decoder",
    "openai-gpt", "gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3_text",
)  # fmt: skip
"""Families that tests take apart; others are tried out when they are loaded."""

_UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError, KeyError)
"""What libraries raise at files that are missing, broken, or do not belong together."""

REPLY_ROOM = 128
"""Positions that the prompt of a decoder-only model leaves to the reply; fewer if there are few."""

MOST_CONTEXT = 2048
"""Pieces of a prompt at most, however many the model could read: talk seldom has more."""


class Backbone:
    """A generator with its tokenizer, read-only after loading and safe to share by threads.

    Attributes:
        model: as transformers has it.
        identity: name and digest of the weights.
        source: what the model was asked for by.
        special: ids of special pieces, of which other families than Meena have some only:
            `bos` is what replies begin behind, `eos` the end of a reply that is written down.
        nothing: the prompt of a conversation in which nothing was said.
        max_context: most pieces of a prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        digest: str,
        prompt_format: str | None = None,
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.identity = {"name": name, "digest": digest}
        self.source = name
        self.network: Network
        self._writer: MeenaWriter | Writer
        if isinstance(model, MeenaForConditionalGeneration):
            self._set_up_meena(model, prompt_format)
        else:
            self._set_up(prompt_format)
        ends, never = self._format.ends, self._format.never
        self._never = torch.tensor(never, dtype=torch.long, device=model.device)
        self._never_first = torch.tensor(never + ends, dtype=torch.long, device=model.device)

    def _set_up_meena(
        self, model: MeenaForConditionalGeneration, prompt_format: str | None
    ) -> None:
        if prompt_format not in (None, "markers"):
            raise InputError(f"a 'meena' model reads markers only, not {prompt_format!r:.60}")
        writer = MeenaWriter(self.tokenizer, self.identity["name"], self.vocab_size)
        self.network, self._writer, self._format = MeenaNetwork(model), writer, writer.format()
        self.special = writer.special
        self.max_context = int(model.config.max_context)
        self.nothing: tuple[int, ...] = (writer.special.user,)

    def _set_up(self, prompt_format: str | None) -> None:
        """The network, prompts and special pieces of a model of transformers."""
        model, tokenizer = self.model, self.tokenizer
        config: Any = model.config
        writer = Writer(tokenizer, config, model.generation_config, self.vocab_size)
        self._writer = writer
        self._format = (
            writer.format(prompt_format)
            if prompt_format
            else choose_format(writer, tokenizer, config, self.identity["name"])
        )
        end = self._format.ends[0]
        pads = (tokenizer.pad_token_id, getattr(config, "pad_token_id", None), end)
        pad = next(one for one in pads if one is not None)
        if config.is_encoder_decoder:
            reads, writes = positions(config, tokenizer), reply_positions(config)
            begin = begin_of_replies(model, tokenizer)
            self.network = Seq2SeqNetwork(model, pad=pad, end=writes, begin=begin)
            self.max_context, first = min(reads, MOST_CONTEXT), begin[-1]
        else:
            known = tokenizer.bos_token_id
            reads, first = reply_positions(config), end if known is None else known
            self.network = CausalNetwork(model, pad=pad, end=reads)
            self.max_context = min(reads - min(REPLY_ROOM, reads // 2), MOST_CONTEXT)
        self.nothing = (first,)
        self.special = SpecialIds(pad, first, end, user=first, bot=end, mask=end)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        prompt_format: str | None = None,
        allow_pickle: bool = False,
        compile: bool = False,
    ) -> "Backbone":
        """The shipped generator, or the one in a folder or on the hub.

        Args:
            model: a folder or a hub name, with @ and a revision behind it if one is wanted; None
                for the shipped weights.
            device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
            dtype: "auto" (bfloat16 where the device multiplies it natively, else float32),
                "float32", "bfloat16" or "float16"; "int8" for weights of linear layers in int8 on
                a CPU, everything else as "auto".
            revision: branch, tag or commit of a hub model.
            prompt_format: one of `chatbot.backbones.prompting.FORMATS` or a Jinja template; None
                for what the model has.
            allow_pickle: weights may be read from pickled files, tensors only.
            compile: with torch.compile (`compile`).

        Raises:
            ModelError: no such model, a file is missing, or it cannot be used; says why.
            InputError: there is no such prompt format.
        """
        if model is None and not (SHIPPED / "config.json").is_file():
            raise ModelError(
                f"the shipped generator is missing ({SHIPPED}); reinstall the package, "
                "or give a model folder made by `chatbot train export`"
            )
        place = find_model(model or SHIPPED, revision=revision, allow_pickle=allow_pickle)
        try:
            config = AutoConfig.from_pretrained(place)
            auto = _auto_class(config, str(model or place))
            tokenizer = _tokenizer(place, config)
            on = find_device(device)
            pickled = not any(place.glob("*.safetensors"))
            loaded: Any = auto.from_pretrained(
                place, dtype=find_dtype(dtype, on), use_safetensors=not pickled,
                output_loading_info=True, **({"weights_only": True} if pickled else {}),
            )  # fmt: skip
            network, report = loaded  # typed as the model alone
        except _UNLOADABLE as error:
            why = reason_of(error)
            raise ModelError(
                f"cannot load the model {model or place}: {why}. Give a folder made by "
                "`chatbot train export`, or a model of transformers with its tokenizer"
            ) from error
        if report["missing_keys"]:  # they would be random
            raise ModelError(
                f"the weights of {model or place} lack {len(report['missing_keys'])} of those that "
                "its config.json tells of; export the model again with `chatbot train export`"
            )
        name = "shipped" if model is None else Path(model).name
        is_meena = config.model_type == "meena"
        known = digest_of_weights(place) if is_meena else digest_of_model(place)
        network.to(on)
        if dtype == "int8":
            to_int8(network)
        backbone = cls(network, tokenizer, name=name, digest=known, prompt_format=prompt_format)
        backbone.source = backbone.source if model is None else str(model)
        if config.model_type not in KNOWN and (wrong := disagreements(backbone)):
            raise ModelError(
                f"{model} is a {config.model_type!r} model, a family not known here, and cannot be "
                f"steered: {'; '.join(wrong)}"
            )
        keep_sizes_few(network)
        if compile:  # the layers as they are from here on
            backbone.compile()
        return backbone

    def compile(self) -> None:
        """Compiles the decoder's steps of one conversation (`chatbot.compiling`), for good.

        Raises:
            ModelError: torch cannot compile here, or not this model; the message says why.
        """
        from chatbot.compiling import compile_steps

        compile_steps(self)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def vocab_size(self) -> int:
        return len(self.model.get_output_embeddings().weight)

    @property
    def prompt_format(self) -> str:
        """Name of how conversations are written for the model."""
        return self._format.name

    # -- text

    def pieces(self, text: str) -> list[int]:
        """Ids of a text, never a special one."""
        return self._writer.pieces(text)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones and what stops a reply left out."""
        given = tuple(ids)
        for stop in self._format.stops:
            if given[-len(stop) :] == stop:
                given = given[: -len(stop)]
        return str(self.tokenizer.decode(list(given), skip_special_tokens=True))

    def piece_texts(self) -> list[str]:
        """How each of the V pieces is written inside a sentence; "" for special ones."""
        return self._writer.piece_texts()

    def prompt(self, turns: Sequence[str]) -> Prompt:
        """What the model reads to answer the last of the turns, oldest first."""
        return self._format.prompt(turns, self.max_context)

    def reply(self, text: str, *, most: int | None = None) -> list[int]:
        """Pieces of a given reply with its end, `most` at most, as the model would write it."""
        pieces = self._format.reply(text)
        return [*(pieces if most is None else pieces[: most - 1]), self.special.eos]

    def begins(self, text: str) -> list[int]:
        """Pieces of what a reply begins with."""
        return self._format.reply(text)

    def is_end(self, ids: Sequence[int]) -> bool:
        """Whether a reply is over with the last of its ids."""
        ends, stops = self._format.ends, self._format.stops
        if ids[-1] in ends or not stops:
            return ids[-1] in ends
        return any(tuple(ids[-len(stop) :]) == stop for stop in stops)

    def never(self, *, is_first: bool) -> Tensor:
        """Ids that cannot be drawn: a reply does not end before it has begun."""
        return self._never_first if is_first else self._never

    # -- the network, as documented in `chatbot.backbones.base`

    def start(self, prompts: Sequence[Ids], candidates: int) -> DecodingState:
        """Reads G prompts once, for `candidates` rows each."""
        return self.network.start(prompts, candidates)

    def first(self, prompts: Sequence[Ids], candidates: int) -> Tensor:
        """The id (B,) that each row reads first."""
        return self.network.first(prompts, candidates)

    def room(self, prompts: Sequence[Ids]) -> int:
        """Most pieces that the replies can have."""
        return self.network.room(prompts)

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """Final hidden states (B, H) after reading one more id per row (B,); and the new state."""
        return self.network.step(ids, state)

    def soft_step(self, probs: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        """As `step`, after the mean embedding under `probs` (B, V) in place of an id."""
        return self.network.soft_step(probs, state)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, H) -> (B, V) float32."""
        return self.network.logits(hidden)

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        """Gradient (B, H) float32 at the hidden states, of one (B, V) at their logits."""
        return self.network.slope(slope, logits)

    def output_embedding(self) -> Tensor:
        """(V, H), what final hidden states are multiplied with to give logits."""
        return self.network.output_embedding()

    def reply_states(self, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[Tensor]:
        """Final hidden states (T, H) before each piece of each reply, all read at once."""
        return self.network.reply_states(prompts, replies)

    def keep_rows(self, state: DecodingState, rows: Tensor) -> None:
        """Goes on with `rows` only, (B,); conversations may keep unequal numbers of them."""
        self.network.keep_rows(state, rows)

    def past(self, state: DecodingState) -> list[tuple[Tensor, ...]]:
        """What is remembered of the pieces before, (B, ..., t, e) each, in groups of a layer."""
        return self.network.past(state)

    def with_past(self, state: DecodingState, past: Sequence[Sequence[Tensor]]) -> DecodingState:
        """The state with other values in place of those that `past` gave."""
        return self.network.with_past(state, past)

    def last_blocks(self, ids: Tensor, state: DecodingState, n: int) -> tuple[Tensor, Resume]:
        """What the last n blocks read in the step after ids (B,), and what goes on from there."""
        return self.network.last_blocks(ids, state, n)


def _auto_class(config: Any, name: str) -> Any:
    """What loads models of this kind.

    Raises:
        ModelError: transformers has no model of it that writes text.
    """
    kind = type(config)
    if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return AutoModelForSeq2SeqLM
    reads_only = kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING and not reads_only:
        return AutoModelForCausalLM
    raise ModelError(
        f"{name} is a {config.model_type!r} model, which reads text and does not write it; give an "
        "encoder-decoder (BART, T5, ...), a decoder-only model (GPT-2, Llama, ...) or a Meena"
    )


def _tokenizer(place: Path, config: Any) -> Any:
    if config.model_type == "meena":
        return PreTrainedTokenizerFast.from_pretrained(place, split_special_tokens=True)
    return AutoTokenizer.from_pretrained(place)
