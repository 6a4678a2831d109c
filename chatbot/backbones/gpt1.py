"""GPT-1 with the cache that transformers does not give it.

Radford et al. (2018), "Improving Language Understanding by Generative Pre-Training": norms stand
behind attention and feed-forward, and none behind the last block. The weights are the model's own.

Shapes as in `chatbot.backbones.base`.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache


class CachedGpt1(nn.Module):
    """The decoder of a GPT-1, called as other decoders are."""

    def __init__(self, decoder: Any):
        super().__init__()
        self.config = decoder.config
        self.tokens, self.positions = decoder.tokens_embed, decoder.positions_embed
        self.h = nn.ModuleList(_Block(block, number) for number, block in enumerate(decoder.h))

    def get_input_embeddings(self) -> nn.Module:
        return self.tokens

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        use_cache: bool = True,
    ) -> SimpleNamespace:
        """`last_hidden_state` (B, T, H); the cache grows by T pieces."""
        x = self.tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x = x + self.positions(position_ids)
        assert past_key_values is not None, "the network always brings a cache"
        n_past, n_new = past_key_values.get_seq_length(), x.shape[1]
        seen = torch.ones(n_new, n_past + n_new, dtype=torch.bool, device=x.device).tril(n_past)
        seen = seen[None, None]  # (1, 1, T, t)
        if attention_mask is not None:
            seen = seen & attention_mask.bool()[:, None, None]
        for block in self.h:
            x = block(x, seen, past_key_values)
        return SimpleNamespace(last_hidden_state=x)


class _Block(nn.Module):
    """A block of GPT-1 that attends to what a cache holds."""

    def __init__(self, block: Any, number: int):
        super().__init__()
        self.block, self.number = block, number

    def forward(self, x: Tensor, seen: Tensor, cache: DynamicCache) -> Tensor:
        """x: (B, T, H); seen: (B or 1, 1, T, t) bool, True where a piece sees another."""
        block: Any = self.block
        attention: Any = block.attn
        query, key, value = (
            part.unflatten(-1, (attention.n_head, -1)).transpose(1, 2)
            for part in attention.c_attn(x).chunk(3, -1)
        )
        key, value = cache.update(key, value, self.number)
        score = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        score = score.masked_fill(~seen, torch.finfo(score.dtype).min)
        mixed = (score.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = block.ln_1(x + attention.c_proj(mixed))
        return block.ln_2(x + block.mlp(x))
