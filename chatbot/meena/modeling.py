"""The Evolved Transformer encoder-decoder (So et al. 2019) in the Meena arrangement.

Layout after tensor2tensor's `evolved_transformer.py`: pre-norm residual sub-layers, attention
projections without bias, sinusoidal positions, embeddings tied with the output and multiplied by
sqrt(d). Knows nothing of text, sampling or steering.

Shapes: `B` decoder rows, `G` encoder rows (consecutive decoder rows share one: B / G each, or as
their `Seats` tell), `S` context length, `T` reply tokens in this call, `d` width, `h` heads, `V`
pieces.
"""

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput

from chatbot.meena.cache import BlockState, KeyValue, MeenaCache, Seats
from chatbot.meena.configuration import MeenaConfig

WINDOW_IN = 10  # inputs kept for the kernel of 11; its last 6 also feed the kernel of 7
WINDOW_MID = 6


def sinusoidal_positions(start: int, length: int, width: int, device: torch.device) -> Tensor:
    """Timing signal of Vaswani et al. (2017) in tensor2tensor's order, (length, width) float32."""
    half = width // 2
    rate = math.log(10_000.0) / max(half - 1, 1)
    frequency = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * -rate)
    position = torch.arange(start, start + length, device=device, dtype=torch.float32)
    angle = position[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, d) -> (B, heads, T, d/heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, T, d/heads) -> (B, T, d)."""
    return x.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention, (B, h, T, e); `mask` is True where a key may be seen.

    On CPUs two matrix products beat the fused kernel at our lengths (128 at most) in bfloat16:
    2.5 times in one-token steps, 1.3 times over a whole training step. Where no gradient is wanted
    they are in float32: oneDNN would keep machine code for every length in 16 bits
    (`chatbot.even_rows`), and every step of a reply has another length.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    dtype, exact = value.dtype, torch.promote_types(value.dtype, torch.float32)
    if not (query.requires_grad or key.requires_grad or value.requires_grad):
        query, key, value = query.to(exact), key.to(exact), value.to(exact)
    score = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return (score.softmax(-1, dtype=exact).to(value.dtype) @ value).to(dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention without biases: 4 d^2 parameters."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, mask: Tensor | None, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Attend from x (B, T, d) to `past` and x; returns (B, T, d) and the grown keys, values."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        if past is not None and past[0].shape[2]:
            key = torch.cat([past[0], key], dim=2)
            value = torch.cat([past[1], value], dim=2)
        return self.out(merge_heads(attend(query, key, value, mask))), (key, value)


class CrossAttention(nn.Module):
    """Attention from the reply to the encoded context, without biases: 4 d^2 parameters."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def project(self, memory: Tensor) -> KeyValue:
        """Keys and values of the encoder output (G, S, d), computed once per reply."""
        key, value = (split_heads(part, self.heads) for part in self.kv(memory).chunk(2, -1))
        return key.contiguous(), value.contiguous()  # else every step would copy them

    def forward(
        self, x: Tensor, kv: KeyValue, mask: Tensor | None, seats: Seats | None = None
    ) -> Tensor:
        """Attend from x (B, T, d) to keys of G rows; the R rows of a group share one read."""
        query, groups = self.query(x), kv[0].shape[0]
        if seats is not None:
            query = seats.spread(query, groups)  # (G*R, T, d)
        grouped = query.view(groups, -1, query.shape[-1])  # (G, R*T, d)
        mixed = merge_heads(attend(split_heads(grouped, self.heads), *kv, mask))
        mixed = mixed.reshape(query.shape)
        return self.out(mixed if seats is None else mixed[seats.places])


class DepthwiseConv(nn.Module):
    """One filter per channel over a window of `kernel` positions, no bias."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T + kernel - 1, d) -> (B, T, d), no padding added."""
        width, kernel = self.weight.shape
        if x.shape[1] == kernel:
            # A copy of the filters that lies like x: the product is 2-3 times faster.
            return (x * self.weight.t().contiguous()).sum(1, keepdim=True)
        # As a 2-D convolution of height 1 the input is channels-last as it lies: 2-3 times faster
        # on CPUs than the 1-D one.
        image = x.transpose(1, 2).unsqueeze(2)  # (B, d, 1, T + kernel - 1)
        out = F.conv2d(image, self.weight[:, None, None], groups=width)
        return out.squeeze(2).transpose(1, 2)


class SeparableConv(nn.Module):
    """Depthwise convolution, then a 1x1 convolution with bias, nothing in between."""

    def __init__(self, d_in: int, d_out: int, kernel: int):
        super().__init__()
        self.depthwise = DepthwiseConv(d_in, kernel)
        self.pointwise = nn.Linear(d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T + kernel - 1, d_in) -> (B, T, d_out)."""
        return self.pointwise(self.depthwise(x))


def pad_channels(x: Tensor, width: int) -> Tensor:
    """Zero channels appended up to `width`."""
    return F.pad(x, (0, width - x.shape[-1]))


def pad_time(x: Tensor, left: int, right: int) -> Tensor:
    """Zero positions before and after."""
    return F.pad(x, (0, 0, left, right))


class EncoderBlock(nn.Module):
    """Gated unit, branched convolutions, self-attention, feed-forward: 21.5 d^2 parameters."""

    def __init__(self, config: MeenaConfig):
        super().__init__()
        d, eps = config.d_model, config.layer_norm_eps
        self.dropout = nn.Dropout(config.dropout)
        self.gate_norm = nn.LayerNorm(d, eps=eps)
        self.gate = nn.Linear(d, 2 * d)
        self.conv_norm = nn.LayerNorm(d, eps=eps)
        self.left = nn.Linear(d, 4 * d)
        self.right = nn.Linear(3 * d, d // 2)  # the ordinary convolution of width 3, unfolded
        self.mid_norm = nn.LayerNorm(4 * d, eps=eps)
        self.conv = SeparableConv(4 * d, d // 2, 9)
        self.attention_norm = nn.LayerNorm(d, eps=eps)
        self.attention = SelfAttention(d, config.num_heads)
        self.ffn_norm = nn.LayerNorm(d, eps=eps)
        self.ffn_in = nn.Linear(d, 4 * d)
        self.ffn_out = nn.Linear(4 * d, d)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: (G, S, d); real: (G, S) bool, True for tokens. Returns (G, S, d)."""
        drop, keep = self.dropout, real.unsqueeze(-1)
        value, gate = self.gate(self.gate_norm(x)).chunk(2, -1)
        x = x + drop(value * gate.sigmoid())
        x = x + drop(self._convolve(x, keep))
        mixed, _ = self.attention(self.attention_norm(x), real[:, None, None, :])
        x = x + drop(mixed)
        return x + drop(self.ffn_out(drop(F.relu(self.ffn_in(self.ffn_norm(x))))))

    def _convolve(self, x: Tensor, keep: Tensor) -> Tensor:
        width = x.shape[-1]
        x = self.conv_norm(x) * keep
        left = self.dropout(F.relu(self.left(x)))
        padded = pad_time(x, 1, 1)
        triples = torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=-1)  # (G, S, 3d)
        right = self.dropout(F.relu(self.right(triples)))
        mid = self.mid_norm(left + pad_channels(right, 4 * width)) * keep
        return pad_channels(self.conv(pad_time(mid, 4, 4)), width)


class DecoderBlock(nn.Module):
    """Five sub-layers, 28.5 d^2 parameters.

    Two attentions side by side, branched causal convolutions, self-attention, encoder attention,
    feed-forward with an inner norm.
    """

    def __init__(self, config: MeenaConfig):
        super().__init__()
        d, eps = config.d_model, config.layer_norm_eps
        self.dropout = nn.Dropout(config.dropout)
        self.wide_norm = nn.LayerNorm(d, eps=eps)
        self.wide_attention = SelfAttention(d, config.wide_heads)
        self.wide_cross = CrossAttention(d, config.num_heads)
        self.conv_norm = nn.LayerNorm(d, eps=eps)
        self.left = SeparableConv(d, 2 * d, WINDOW_IN + 1)
        self.right = SeparableConv(d, d // 2, 7)
        self.mid_norm = nn.LayerNorm(2 * d, eps=eps)
        self.conv = SeparableConv(2 * d, d, WINDOW_MID + 1)
        self.attention_norm = nn.LayerNorm(d, eps=eps)
        self.attention = SelfAttention(d, config.num_heads)
        self.cross_norm = nn.LayerNorm(d, eps=eps)
        self.cross = CrossAttention(d, config.num_heads)
        self.ffn_norm = nn.LayerNorm(d, eps=eps)
        self.ffn_in = nn.Linear(d, 4 * d)
        self.ffn_mid_norm = nn.LayerNorm(4 * d, eps=eps)
        self.ffn_out = nn.Linear(4 * d, d)

    def start(self, memory: Tensor, rows: int) -> BlockState:
        """State before the first token of `rows` replies to the contexts `memory` (G, S, d)."""
        d = memory.shape[-1]
        wide, plain = self.wide_attention.heads, self.attention.heads
        empty_wide = memory.new_zeros(rows, wide, 0, d // wide)
        empty = memory.new_zeros(rows, plain, 0, d // plain)
        return BlockState(
            wide_kv=(empty_wide, empty_wide),
            kv=(empty, empty),
            window_in=memory.new_zeros(rows, WINDOW_IN, d),
            window_mid=memory.new_zeros(rows, WINDOW_MID, 2 * d),
            wide_cross=self.wide_cross.project(memory),
            cross=self.cross.project(memory),
        )

    def forward(
        self, x: Tensor, state: BlockState, causal: Tensor | None, memory_mask: Tensor | None
    ) -> tuple[Tensor, BlockState]:
        """One pass over T new tokens.

        Args:
            x: (B, T, d).
            state: what the rows remember; not changed.
            causal: (T, t + T) bool or None when T == 1.
            memory_mask: (G, 1, 1, S) bool, True for context tokens.

        Returns:
            (B, T, d) and the state after these tokens.
        """
        drop = self.dropout
        shared = self.wide_norm(x)
        left, wide_kv = self.wide_attention(shared, causal, state.wide_kv)
        right = self.wide_cross(shared, state.wide_cross, memory_mask, state.seats)
        x = x + drop(left) + drop(right)

        mixed, window_in, window_mid = self._convolve(x, state)
        x = x + drop(mixed)

        mixed, kv = self.attention(self.attention_norm(x), causal, state.kv)
        x = x + drop(mixed)
        right = self.cross(self.cross_norm(x), state.cross, memory_mask, state.seats)
        x = x + drop(right)
        inner = self.ffn_mid_norm(drop(F.silu(self.ffn_in(self.ffn_norm(x)))))
        x = x + drop(self.ffn_out(inner))
        after = BlockState(
            wide_kv, kv, window_in, window_mid, state.wide_cross, state.cross, state.seats
        )
        return x, after

    def _convolve(self, x: Tensor, state: BlockState) -> tuple[Tensor, Tensor, Tensor]:
        """Branched causal convolutions: (B, T, d) and the two windows after these tokens."""
        width = x.shape[-1]
        seen = torch.cat([state.window_in, self.conv_norm(x).to(state.window_in.dtype)], dim=1)
        left = self.dropout(F.relu(self.left(seen)))
        right = self.dropout(self.right(seen[:, WINDOW_IN - WINDOW_MID :]))
        mid = self.mid_norm(left + pad_channels(right, 2 * width))
        mid = torch.cat([state.window_mid, mid.to(state.window_mid.dtype)], dim=1)
        return self.conv(mid), seen[:, -WINDOW_IN:], mid[:, -WINDOW_MID:]


class MeenaPreTrainedModel(PreTrainedModel):
    """What both Meena classes share: configuration and initial weights."""

    config_class = MeenaConfig
    base_model_prefix = "model"
    _no_split_modules = ["EncoderBlock", "DecoderBlock"]
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Glorot-uniform projections and embeddings of variance 1/d, as tensor2tensor does."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, DepthwiseConv):
            bound = module.weight.shape[1] ** -0.5
            init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.d_model**-0.5)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


class MeenaModel(MeenaPreTrainedModel):
    """Encoder and decoder without the output projection."""

    def __init__(self, config: MeenaConfig):
        super().__init__(config)
        d, eps = config.d_model, config.layer_norm_eps
        self.shared = nn.Embedding(config.vocab_size, d)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder_blocks = nn.ModuleList(
            EncoderBlock(config) for _ in range(config.encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(d, eps=eps)
        self.decoder_blocks = nn.ModuleList(
            DecoderBlock(config) for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(d, eps=eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.shared

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.shared = value

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """(B, T) ids -> (B, T, d): scaled embeddings plus timing signal from position `start`."""
        return self.placed(self.shared(ids), start)

    def placed(self, embedded: Tensor, start: int) -> Tensor:
        """Rows or mixtures of the embedding table, (B, T, d), made the decoder's input."""
        x = embedded * self.config.d_model**0.5
        timing = sinusoidal_positions(start, x.shape[1], self.config.d_model, x.device)
        return self.dropout(x + timing.to(x.dtype))

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode contexts (G, S) with mask (G, S), 1 for tokens; returns (G, S, d)."""
        real = attention_mask.bool()
        x = self.embed(input_ids)
        for block in self.encoder_blocks:
            x = block(x, real)
        return self.encoder_norm(x)

    def start_cache(self, memory: Tensor, rows: int) -> MeenaCache:
        """Cache before the first token of `rows` replies; `rows` is a multiple of G."""
        blocks = cast(Iterable[DecoderBlock], self.decoder_blocks)
        return MeenaCache([block.start(memory, rows) for block in blocks])

    def decode(
        self, ids: Tensor, cache: MeenaCache, attention_mask: Tensor | None
    ) -> tuple[Tensor, MeenaCache, list[Tensor]]:
        """Advance the decoder by T tokens.

        Args:
            ids: (B, T) the newest tokens.
            cache: state of the tokens before them; not changed.
            attention_mask: (G, S), 1 for context tokens; None where no context is padded.

        Returns:
            Final hidden states (B, T, d), the new cache, the output of every block (B, T, d).
        """
        x = self.embed(ids, cache.get_seq_length())
        return self.decode_embedded(x, cache, attention_mask)

    def decode_embedded(
        self, x: Tensor, cache: MeenaCache, attention_mask: Tensor | None
    ) -> tuple[Tensor, MeenaCache, list[Tensor]]:
        """As `decode`, of inputs (B, T, d) that `embed` or `placed` gave."""
        every = range(len(self.decoder_blocks))
        outputs, states = self.run_blocks(x, cache, attention_mask, blocks=every)
        return self.decoder_norm(outputs[-1]), MeenaCache(states), outputs

    def run_blocks(
        self, x: Tensor, cache: MeenaCache, attention_mask: Tensor | None, *, blocks: range
    ) -> tuple[list[Tensor], list[BlockState]]:
        """Advance some neighbouring decoder blocks by T tokens.

        Args:
            x: (B, T, d) what the first of them reads.
            cache: of all blocks; not changed.
            attention_mask: as of `decode`.
            blocks: their numbers, from 0.

        Returns:
            The output (B, T, d) of each, before the norm of the stack, and their new states.
        """
        past, length = cache.get_seq_length(), x.shape[1]
        memory_mask = causal = None
        if attention_mask is not None:
            memory_mask = attention_mask.bool()[:, None, None, :]
        if length > 1:
            causal = torch.ones(length, past + length, dtype=torch.bool, device=x.device)
            causal = causal.tril(past)
        outputs, states = [], []
        for number in blocks:
            x, after = self.decoder_blocks[number](x, cache.blocks[number], causal, memory_mask)
            outputs.append(x)
            states.append(after)
        return outputs, states

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: MeenaCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Seq2SeqModelOutput:
        """Hidden states of the reply; arguments as in every `transformers` seq2seq model.

        Raises:
            ValueError: neither context nor encoder output, or no decoder input.
        """
        if decoder_input_ids is None:
            raise ValueError("no decoder_input_ids; give them, or labels to make them from")
        if encoder_outputs is not None:
            memory = encoder_outputs[0]
        elif input_ids is not None:
            if attention_mask is None:
                attention_mask = torch.ones_like(input_ids)
            memory = self.encode(input_ids, attention_mask)
        else:
            raise ValueError("neither input_ids nor encoder_outputs; give one of them")
        if past_key_values is None:
            past_key_values = self.start_cache(memory, decoder_input_ids.shape[0])
        hidden, cache, blocks = self.decode(decoder_input_ids, past_key_values, attention_mask)
        return Seq2SeqModelOutput(
            last_hidden_state=hidden,
            past_key_values=cache if use_cache else None,  # type: ignore[arg-type]  # ours
            decoder_hidden_states=tuple(blocks) if output_hidden_states else None,
            encoder_last_hidden_state=memory,
        )


class MeenaForConditionalGeneration(MeenaPreTrainedModel, GenerationMixin):
    """Meena with its output projection, tied to the embeddings."""

    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}

    def __init__(self, config: MeenaConfig):
        super().__init__(config)
        self.model = MeenaModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def get_encoder(self) -> nn.Module:
        return _Encoder(self.model)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the convolution windows need a cache of our own, made in `forward`

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: MeenaCache | None = None,
        attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        use_cache: bool | None = None,
        **_: object,  # `generate` hands over more than this model uses
    ) -> dict[str, object]:
        """Inputs of the next step of `generate`: only the tokens the cache has not seen."""
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        return {
            "decoder_input_ids": input_ids[:, seen:],
            "past_key_values": past_key_values,
            "attention_mask": attention_mask,
            "encoder_outputs": encoder_outputs,
            "use_cache": use_cache,
        }

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: MeenaCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        return_logits: bool = True,
    ) -> Seq2SeqLMOutput:
        """Logits (B, T, V) and, with `labels`, the mean cross-entropy in nats per token.

        Args:
            input_ids, attention_mask: (G, S) context, right-padded; 1 for tokens.
            decoder_input_ids: (B, T); made from `labels` when left out.
            labels: (B, T), -100 where there is nothing to predict.
            return_logits: False computes logits only where a label stands (`logits` is then
                None): in training about a third of the positions are padding.
        """
        if labels is not None and decoder_input_ids is None:
            start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
            decoder_input_ids = shift_right(labels, start=start, pad=pad)
        out = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            encoder_outputs,
            past_key_values,
            use_cache=self.config.use_cache if use_cache is None else use_cache,
            output_hidden_states=output_hidden_states,
        )
        hidden, logits, loss = out.last_hidden_state, None, None
        if return_logits:
            logits = self.lm_head(hidden)
        if labels is not None:
            keep = labels != -100
            scored = self.lm_head(hidden[keep]) if logits is None else logits[keep]
            smoothing = self.config.label_smoothing if self.training else 0.0
            loss = F.cross_entropy(scored.float(), labels[keep], label_smoothing=smoothing)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            decoder_hidden_states=out.decoder_hidden_states,
            encoder_last_hidden_state=out.encoder_last_hidden_state,
        )


class _Encoder(nn.Module):
    """The encoder half as the module that `generate` asks for."""

    main_input_name = "input_ids"

    def __init__(self, model: MeenaModel):
        super().__init__()
        self.encode = model.encode

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> BaseModelOutput:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return BaseModelOutput(last_hidden_state=self.encode(input_ids, mask))


def shift_right(labels: Tensor, *, start: int, pad: int) -> Tensor:
    """Decoder inputs (B, T) that predict `labels`: the start token, then all but the last."""
    ids = labels.new_full(labels.shape, start)
    ids[:, 1:] = labels[:, :-1]
    return ids.masked_fill(ids == -100, pad)


AutoModel.register(MeenaConfig, MeenaModel)
AutoModelForSeq2SeqLM.register(MeenaConfig, MeenaForConditionalGeneration)
