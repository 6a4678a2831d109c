"""Where the parts of a transformers model are: its decoder, its blocks, what comes behind them.

Shapes as in `chatbot.backbones.base`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import gelu

from chatbot.backbones.gpt1 import CachedGpt1
from chatbot.errors import ModelError

_STACKS = ("layers", "h", "block", "encoder.layer")
"""Names of the list of blocks in a decoder; the last one is BERT's, whose decoder is an encoder."""

_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "layer_norm")
"""Names of what stands behind the last block; BART has nothing there."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model.

    Attributes:
        decoder: gives the states that `finish` takes.
        blocks: of the decoder, first to last.
        norm: behind the last block; None without.
        finish: decoder output (..., H) -> input of the output embedding (..., H).
        embedding: reads the pieces.
        scale: what the embedding multiplies its table by.
        output: the output embedding, with its bias if it has one.
        bias: (1, V) added to the logits; None without.
        cap: bound of the logits by cap * tanh(logits / cap); None without.
    """

    decoder: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module | None
    finish: Callable[[Tensor], Tensor]
    embedding: nn.Module
    scale: float
    output: nn.Linear
    bias: Tensor | None
    cap: float | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Anatomy":
        """The parts of a model, found by the names that transformers gives them.

        Raises:
            ModelError: a part is missing; the message says which.
        """
        head: Any = model.decoder if model.config.model_type == "encoder-decoder" else model
        decoder: Any = head.get_decoder() if head is model else head.base_model
        if head.config.model_type == "openai-gpt":
            decoder = CachedGpt1(decoder)
        blocks: Any = next((found for name in _STACKS if (found := _at(decoder, name))), None)
        output, embedding = model.get_output_embeddings(), decoder.get_input_embeddings()
        missing = [
            what
            for what, part in (
                ("a list of blocks (layers, h or block)", blocks),
                ("an output embedding", output),
                ("an input embedding", embedding),
            )
            if part is None
        ]
        if missing:
            raise ModelError(
                f"a {model.config.model_type!r} model as transformers has it lacks "
                f"{' and '.join(missing)}, which the steering needs; use another model"
            )
        text_config = head.config.get_text_config(decoder=True)
        return cls(
            decoder=decoder,
            blocks=blocks,
            norm=next((found for name in _NORMS if (found := _at(decoder, name))), None),
            finish=_finish(head),
            embedding=embedding,
            scale=float(getattr(embedding, "embed_scale", 1.0)),
            output=output,
            bias=getattr(head, "final_logits_bias", None),
            cap=getattr(text_config, "final_logit_softcapping", None),
        )

    def after_blocks(self, x: Tensor) -> Tensor:
        """Output of the last block (B, T, H) -> final hidden states (B, T, H)."""
        return self.finish(x if self.norm is None else self.norm(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., V) float32, in the model's own steps."""
        logits = self.output(hidden)
        if self.bias is not None:
            logits = logits + self.bias
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits.float()

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        """Gradient (B, H) float32 at the hidden states, of one (B, V) at their logits."""
        if self.cap is not None:
            slope = slope * (1 - (logits / self.cap) ** 2)
        weight = self.output.weight
        return (slope.to(weight.dtype) @ weight).float()


def _at(module: Any, path: str) -> Any:
    """The part at a dotted path; None where there is none."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _finish(head: Any) -> Callable[[Tensor], Tensor]:
    """What a language model does between its decoder and its output embedding."""
    config = head.config
    scale = getattr(config, "logit_scale", None)  # Cohere: of the logits, which is the same
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        scale = 1 / divisor
    if getattr(config, "scale_decoder_outputs", False) and hasattr(head, "model_dim"):  # T5
        scale = head.model_dim**-0.5
    if scale is not None:
        return lambda states: states * scale
    if (transform := _at(head, "cls.predictions.transform")) is not None:  # BERT
        return transform
    if (dense := _at(head, "lm_head.dense")) is not None:  # RoBERTa
        return lambda states: head.lm_head.layer_norm(gelu(dense(states)))
    return lambda states: states
