"""Encoder-decoders of transformers: BART, Blenderbot, T5, pairs of BERT-like models.

Shapes as in `chatbot.backbones.base`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from chatbot.backbones.base import DecodingState, Ids, padded
from chatbot.backbones.caches import copied, fresh, without_own
from chatbot.backbones.transformer import TransformerNetwork, row_states


class Seq2SeqNetwork(TransformerNetwork):
    """A `Network`; the rows of a conversation share one run of the encoder.

    Attributes:
        begin: pieces that every reply stands behind: the start, and one that must follow if the
            model is so configured.
    """

    def __init__(self, model: PreTrainedModel, *, pad: int, end: int, begin: Ids):
        super().__init__(model, pad=pad, end=end)
        self.begin = list(begin)
        embeddings: Any = getattr(self.parts.decoder, "embeddings", None)
        # RoBERTa begins to count behind the padding piece, but for embeddings only at every call.
        counts_anew = hasattr(embeddings, "create_position_ids_from_inputs_embeds")
        self._count_from = embeddings.padding_idx + 1 if counts_anew else None

    def start(self, prompts: Sequence[Ids], candidates: int) -> DecodingState:
        device = self._model.device
        ids, mask = padded(prompts, self._pad)
        ids, mask = ids.to(device), None if mask is None else mask.to(device)
        memory = self._encode(ids, mask)
        decoder_config: Any = self.parts.decoder.config
        state = DecodingState(fresh(decoder_config, has_encoder=True), mask, memory)
        # The decoder looks at the context once for each conversation, whatever it reads.
        begun = torch.tensor(self.begin[:-1] or self.begin, device=device)
        _, state = self.decode({"input_ids": begun.expand(len(prompts), -1)}, state)
        if len(self.begin) == 1:
            state.cache = without_own(state.cache, decoder_config)
        if candidates > 1:
            rows = torch.arange(len(prompts), device=device).repeat_interleave(candidates)
            self.keep_rows(state, rows)
        return state

    def _encode(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(G, S) -> (G, S, H) as the decoder wants it."""
        model: Any = self._model
        real = torch.ones_like(ids) if mask is None else mask.long()
        memory = model.get_encoder()(input_ids=ids, attention_mask=real).last_hidden_state
        projection = getattr(model, "enc_to_dec_proj", None)
        return memory if projection is None else projection(memory)

    def first(self, prompts: Sequence[Ids], candidates: int) -> Tensor:
        n_rows = len(prompts) * candidates
        return torch.full((n_rows,), self.begin[-1], device=self._model.device)

    def room(self, prompts: Sequence[Ids]) -> int:
        return self.end - len(self.begin) + 1

    def decode(
        self, inputs: dict[str, Tensor], state: DecodingState
    ) -> tuple[Tensor, DecodingState]:
        cache = copied(state.cache)
        mask = state.memory_mask
        more = {}
        if self._count_from is not None:
            (given,) = inputs.values()
            begin = self._count_from + cache.get_seq_length()
            positions = torch.arange(begin, begin + given.shape[1], device=given.device)
            more["position_ids"] = positions.expand(given.shape[:2])
        out = self.parts.decoder(
            **inputs, **more, encoder_hidden_states=state.memory,
            encoder_attention_mask=None if mask is None else mask.long(),
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        return self.parts.finish(out.last_hidden_state), replace(state, cache=cache)

    def reply_states(self, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[Tensor]:
        state = self.start(prompts, 1)
        ids, _ = padded([[self.begin[-1], *reply[:-1]] for reply in replies], self._pad)
        hidden, _ = self.decode({"input_ids": ids.to(self._model.device)}, state)
        return row_states(hidden, replies)
