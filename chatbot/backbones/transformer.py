"""What encoder-decoders and decoder-only models of transformers have in common.

Shapes as in `chatbot.backbones.base`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from chatbot.backbones.anatomy import Anatomy
from chatbot.backbones.base import DecodingState, Ids, Resume
from chatbot.backbones.caches import copied, own_layers

Call = tuple[tuple[Any, ...], dict[str, Any]]

_CALLS: ContextVar[dict[nn.Module, Call] | None] = ContextVar("calls of blocks", default=None)
"""Where the hooks on the blocks write down what these are called with; None for nowhere."""


class TransformerNetwork(ABC):
    """The part of a `Network` that does not care whether there is an encoder.

    Attributes:
        parts: of the model.
        end: number of positions that the model has; a large number where they have no end.
    """

    def __init__(self, model: PreTrainedModel, *, pad: int, end: int):
        self.parts = Anatomy.of(model)
        self.end = end
        self._model, self._pad = model, pad
        for block in self.parts.blocks:
            block.register_forward_pre_hook(_write_down, with_kwargs=True)

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.parts.blocks)

    @abstractmethod
    def decode(
        self, inputs: dict[str, Tensor], state: DecodingState
    ) -> tuple[Tensor, DecodingState]:
        """Final hidden states (B, T, H) of T more `input_ids` or `inputs_embeds`, and the state."""

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        hidden, state = self.decode({"input_ids": ids[:, None]}, state)
        return hidden[:, -1], state

    def soft_step(self, probs: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        table: Any = self.parts.embedding.weight
        mean = probs.to(table.dtype)[:, : len(table)] @ table * self.parts.scale
        hidden, state = self.decode({"inputs_embeds": mean[:, None]}, state)
        return hidden[:, -1], state

    def logits(self, hidden: Tensor) -> Tensor:
        return self.parts.logits(hidden)

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        return self.parts.slope(slope, logits)

    def output_embedding(self) -> Tensor:
        return self.parts.output.weight

    def keep_rows(self, state: DecodingState, rows: Tensor) -> None:
        state.cache.batch_select_indices(rows)
        state.memory = None if state.memory is None else state.memory[rows]
        state.memory_mask = None if state.memory_mask is None else state.memory_mask[rows]

    def past(self, state: DecodingState) -> list[tuple[Tensor, ...]]:
        """Keys and values of every layer's attention to the pieces before."""
        return [
            (layer.keys, layer.values)
            for layer in own_layers(state.cache)
            if layer.is_initialized and layer.keys.numel()
        ]

    def with_past(self, state: DecodingState, past: Sequence[Sequence[Tensor]]) -> DecodingState:
        cache = copied(state.cache)
        for layer, (keys, values) in zip(own_layers(cache), past, strict=False):
            layer.keys, layer.values = keys, values
        return replace(state, cache=cache)

    def last_blocks(self, ids: Tensor, state: DecodingState, n: int) -> tuple[Tensor, Resume]:
        first = max(0, len(self.parts.blocks) - n)
        with torch.no_grad():
            calls: dict[nn.Module, Call] = {}
            token = _CALLS.set(calls)
            try:
                _, after = self.decode({"input_ids": ids[:, None]}, state)
            finally:
                _CALLS.reset(token)
        # Below, the step is made; above, nothing of it is remembered yet.
        begun = copied(after.cache)
        own_layers(begun)[first:] = own_layers(state.cache)[first:]

        def resume(read: Tensor) -> tuple[Tensor, DecodingState]:
            cache, x = copied(begun), read[:, None]
            for block in self.parts.blocks[first:]:
                x = _again(block, calls[block], x, cache)
            return self.parts.after_blocks(x)[:, -1], replace(after, cache=cache)

        return _input(calls[self.parts.blocks[first]])[:, -1], resume


def _write_down(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    calls = _CALLS.get()
    if calls is not None:
        calls[block] = (args, kwargs)


def _input(call: Call) -> Tensor:
    args, kwargs = call
    return args[0] if args else kwargs["hidden_states"]


def _again(block: nn.Module, call: Call, x: Tensor, cache: Cache) -> Tensor:
    """A block called as it was, but for what it reads (B, T, H) and the cache that it grows."""
    args, kwargs = call

    def swapped(value: Any) -> Any:
        return cache if isinstance(value, Cache) else value

    kwargs = {name: swapped(value) for name, value in kwargs.items()}
    if args:
        args = (x, *map(swapped, args[1:]))
    else:
        kwargs["hidden_states"] = x
    out = block(*args, **kwargs)
    return out[0] if isinstance(out, tuple) else out


def row_states(hidden: Tensor, replies: Sequence[Ids]) -> list[Tensor]:
    """(B, T, H) without what stands behind the end of each reply."""
    return [rows[: len(reply)] for rows, reply in zip(hidden, replies, strict=True)]
