"""Meena as a `Network`: rows of a conversation share one read of its context.

Shapes as in `chatbot.backbones.base`.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from chatbot.backbones.base import DecodingState, Ids, Resume, padded
from chatbot.backbones.prompting import Format
from chatbot.errors import ModelError
from chatbot.meena import MeenaCache, MeenaForConditionalGeneration
from chatbot.meena.cache import BlockState
from chatbot.prompt import SPECIAL_TOKENS, Prompt, SpecialIds, build_context

MAX_READ_TURNS = 16
"""Turns looked at, newest first; the context window holds seven."""


class MeenaWriter:
    """Pieces and prompts of a Meena: every turn behind the marker of its speaker.

    Attributes:
        special: ids of the markers and of what frames a reply.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, name: str, n_pieces: int):
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing:
            raise ModelError(
                f"the tokenizer of {name} lacks {', '.join(missing)}; export the model again "
                "with the tokenizer it was trained with"
            )
        self._tokenizer, self._n_pieces = tokenizer, n_pieces
        self.special = SpecialIds(*(vocabulary[token] for token in SPECIAL_TOKENS))

    def pieces(self, text: str) -> list[int]:
        """Ids of a text, never a special one."""
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def piece_texts(self) -> list[str]:
        """How each piece is written; "" for special ones."""
        decode = self._tokenizer.decode
        return [str(decode([piece], skip_special_tokens=True)) for piece in range(self._n_pieces)]

    def format(self) -> Format:
        """The one that every Meena was trained with."""
        one = self.special
        never = (one.pad, one.bos, one.user, one.bot, one.mask)
        return Format("markers", self._prompt, self.pieces, (one.eos,), (), never)

    def _prompt(self, turns: Sequence[str], limit: int) -> Prompt:
        # Only the newest turns can fit; older ones are counted without being split into pieces.
        newest = turns[-MAX_READ_TURNS:]
        pieces = [self.pieces(turn) for turn in newest]
        prompt = build_context(pieces, self.special, max_tokens=limit)
        return replace(prompt, dropped_turns=prompt.dropped_turns + len(turns) - len(newest))


class MeenaNetwork:
    """A `Network`, as documented there."""

    def __init__(self, model: MeenaForConditionalGeneration):
        self._lm, self._model = model, model.model
        self._pad, self._bos = model.config.pad_token_id, model.config.bos_token_id

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self._model.decoder_blocks)

    def start(self, prompts: Sequence[Ids], candidates: int) -> DecodingState:
        device = self._lm.device
        ids, mask = padded(prompts, self._pad or 0)
        ids = ids.to(device)
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.to(device)
        memory = self._model.encode(ids, real)
        cache = self._model.start_cache(memory, len(prompts) * candidates)
        return DecodingState(cache, None if mask is None else real)

    def first(self, prompts: Sequence[Ids], candidates: int) -> Tensor:
        return torch.full((len(prompts) * candidates,), self._bos or 1, device=self._lm.device)

    def room(self, prompts: Sequence[Ids]) -> int:
        return 1 << 20  # its positions have no end

    def step(self, ids: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        hidden, cache, _ = self._model.decode(ids[:, None], state.cache, state.memory_mask)
        return hidden[:, -1], DecodingState(cache, state.memory_mask)

    def soft_step(self, probs: Tensor, state: DecodingState) -> tuple[Tensor, DecodingState]:
        table = self._model.shared.weight
        mean = (probs.to(table.dtype) @ table)[:, None]  # (B, 1, H)
        x = self._model.placed(mean, state.cache.get_seq_length())
        hidden, cache, _ = self._model.decode_embedded(x, state.cache, state.memory_mask)
        return hidden[:, -1], DecodingState(cache, state.memory_mask)

    def logits(self, hidden: Tensor) -> Tensor:
        return self._lm.lm_head(hidden).float()

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        output = self.output_embedding()
        return (slope.to(output.dtype) @ output).float()

    def output_embedding(self) -> Tensor:
        return self._lm.get_output_embeddings().weight

    def keep_rows(self, state: DecodingState, rows: Tensor) -> None:
        state.cache.select_rows(rows)

    def reply_states(self, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[Tensor]:
        state = self.start(prompts, 1)
        begun = [[self._bos or 1, *reply[:-1]] for reply in replies]
        ids, _ = padded(begun, self._bos or 1)
        hidden, _, _ = self._model.decode(ids.to(self._lm.device), state.cache, state.memory_mask)
        return [rows[: len(reply)] for rows, reply in zip(hidden, replies, strict=True)]

    def past(self, state: DecodingState) -> list[tuple[Tensor, ...]]:
        """Keys and values of both self-attentions of every block, and its convolution windows.

        Left alone, the windows would leak the unmoved past. Before the first piece the attentions
        remember nothing and the windows hold zeros: these zeros are moved, so that the first piece
        is steered as well.
        """
        return [
            group
            for block in state.cache
            for group in (block.wide_kv, block.kv, (block.window_in,), (block.window_mid,))
        ]

    def with_past(self, state: DecodingState, past: Sequence[Sequence[Tensor]]) -> DecodingState:
        blocks = []
        for number, block in enumerate(state.cache):
            wide, kv, (window_in,), (window_mid,) = past[4 * number : 4 * number + 4]
            blocks.append(
                BlockState(
                    (wide[0], wide[1]), (kv[0], kv[1]), window_in, window_mid,
                    block.wide_cross, block.cross, block.seats,
                )
            )  # fmt: skip
        return DecodingState(MeenaCache(blocks), state.memory_mask)

    def last_blocks(self, ids: Tensor, state: DecodingState, n: int) -> tuple[Tensor, Resume]:
        model, mask = self._model, state.memory_mask
        n_blocks = len(state.cache.blocks)
        first = max(0, n_blocks - n)
        with torch.no_grad():
            x = model.embed(ids[:, None], state.cache.get_seq_length())
            outputs, below = model.run_blocks(x, state.cache, mask, blocks=range(first))
            x = outputs[-1] if outputs else x  # (B, 1, H)

        def resume(read: Tensor) -> tuple[Tensor, DecodingState]:
            above = range(first, n_blocks)
            outputs, states = model.run_blocks(read[:, None], state.cache, mask, blocks=above)
            cache = MeenaCache([*below, *states])
            return model.decoder_norm(outputs[-1])[:, -1], DecodingState(cache, mask)

        return x[:, -1], resume
