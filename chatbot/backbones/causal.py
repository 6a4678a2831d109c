"""Decoder-only models of transformers: the prompt is read once, up to its last piece.

The last piece is what the first step reads, so that the first piece of a reply is steered like any
other.

Shapes as in `chatbot.backbones.base`.
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from chatbot.backbones.base import DecodingState, Ids, padded
from chatbot.backbones.caches import copied, fresh
from chatbot.backbones.transformer import TransformerNetwork, row_states


class CausalNetwork(TransformerNetwork):
    """A `Network`; prompts of different lengths stand against the right edge of their batch."""

    def __init__(self, model: PreTrainedModel, *, pad: int, end: int):
        super().__init__(model, pad=pad, end=end)
        known = inspect.signature(self.parts.decoder.forward).parameters
        self._takes_positions = "position_ids" in known

    def start(self, prompts: Sequence[Ids], candidates: int) -> DecodingState:
        config: Any = self.parts.decoder.config
        state = DecodingState(fresh(config, has_encoder=False), None)
        begun = [prompt[:-1] for prompt in prompts]
        if any(begun):
            ids, mask = padded(begun, self._pad, left=True)
            device = self._model.device
            state.memory_mask = None if mask is None else mask.to(device)
            _, state = self.decode({"input_ids": ids.to(device)}, state)
            if candidates > 1:
                rows = torch.arange(len(prompts), device=device).repeat_interleave(candidates)
                self.keep_rows(state, rows)
        return state

    def first(self, prompts: Sequence[Ids], candidates: int) -> Tensor:
        last = torch.tensor([prompt[-1] for prompt in prompts], device=self._model.device)
        return last.repeat_interleave(candidates)

    def room(self, prompts: Sequence[Ids]) -> int:
        return self.end - max(map(len, prompts)) + 1

    def decode(
        self, inputs: dict[str, Tensor], state: DecodingState
    ) -> tuple[Tensor, DecodingState]:
        (given,) = inputs.values()
        mask, positions = self._placed(given, state)
        cache = copied(state.cache)
        more = {"position_ids": positions} if self._takes_positions else {}
        out = self.parts.decoder(
            **inputs, **more, attention_mask=mask, past_key_values=cache, use_cache=True
        )
        return self.parts.finish(out.last_hidden_state), replace(state, cache=cache)

    def _placed(self, given: Tensor, state: DecodingState) -> tuple[Tensor | None, Tensor]:
        """Which pieces are real (B, past + T), None where all are; positions (B, T) of the T."""
        n_rows, n_new = given.shape[:2]
        n_past = state.cache.get_seq_length()
        real = state.memory_mask
        if real is None:
            positions = torch.arange(n_past, n_past + n_new, device=given.device)
            return None, positions.expand(n_rows, -1)
        n_more = n_past + n_new - real.shape[1]
        real = torch.cat([real, real.new_ones(n_rows, n_more)], dim=1)
        return real.long(), (real.long().cumsum(1) - 1).clamp_min(0)[:, n_past:]

    def reply_states(self, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[Tensor]:
        state = self.start(prompts, 1)
        begun = [[prompt[-1], *reply[:-1]] for prompt, reply in zip(prompts, replies, strict=True)]
        ids, _ = padded(begun, self._pad)
        hidden, _ = self.decode({"input_ids": ids.to(self._model.device)}, state)
        return row_states(hidden, replies)
