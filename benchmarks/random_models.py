"""Generators of random weights in every family, with tokenizers of their kind; no downloads.

Tests use them tiny, `benchmarks/backbones.py` larger.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TALK = (
    "Hello there! How are you today? I am happy, so happy, it is a wonderful day. "
    "What a joy to see you. I love this game and music. I am glad and cheerful. "
    "User: Do you like pizza? Bot: Yes, I do. The game was great fun, we laughed and smiled. "
    "I am sad and angry about it. Why not? 안녕하세요 기뻐 행복해 정말 좋아 오늘 뭐 해"
)
"""What the tokenizers are trained on."""


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        pieces: of the tokenizer at most; few can be learned from `TALK`.
        rows: of the embeddings at least; those without a piece cost as much as the others.
    """

    width: int = 32
    heads: int = 4
    blocks: int = 2
    pieces: int = 400
    positions: int = 128
    rows: int = 0


def byte_level(size: Size, *, bos: str, eos: str, more: Iterable[str] = ()) -> Any:
    """As of GPT-2, BART, GPT-NeoX and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([bos, eos, *more]))
    trainer = trainers.BpeTrainer(
        vocab_size=size.pieces, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([TALK] * 3, trainer)
    return _faced(tokenizer, bos_token=bos, eos_token=eos)


def framed(size: Size) -> Any:
    """As of BART: pieces that frame every text."""
    tokenizer = byte_level(size, bos="<s>", eos="</s>", more=["<pad>", "<unk>", "<mask>"])
    _frame(tokenizer, "<s>", "</s>")
    tokenizer.pad_token, tokenizer.sep_token = "<pad>", "</s>"
    return tokenizer


def ended(size: Size) -> Any:
    """As of Blenderbot: the end behind every text, a space before it."""
    tokenizer = framed(size)
    _frame(tokenizer, None, "</s>")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def small_blenderbot(size: Size) -> Any:
    """As of Blenderbot 90M: words in lower case."""
    return _suffixed(size, ["__null__", "__start__", "__end__", "__unk__", "__newln__"])


def gpt1(size: Size) -> Any:
    """As of GPT-1: a piece tells by its own end that the word ends; nothing special but <unk>."""
    return _suffixed(size, ["<unk>"])


def word_pieces(size: Size) -> Any:
    """As of BERT."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size.pieces, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([TALK] * 3, trainer)
    face = _faced(
        tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip
    _frame(face, "[CLS]", "[SEP]")
    return face


def sentence_pieces(size: Size, *, begins: bool = False) -> Any:
    """As of T5; with a start piece as of Llama and Gemma."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=size.pieces, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([TALK, *TALK.split(". ")] * 3, trainer)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    face = _faced(tokenizer, **names, **({"bos_token": "<s>"} if begins else {}))
    _frame(face, "<s>" if begins else None, None if begins else "</s>")
    return face


def chatty(size: Size) -> Any:
    """As of Qwen chat models: a template, and an end of its own for every turn."""
    tokenizer = byte_level(
        size, bos="<|endoftext|>", eos="<|im_end|>", more=["<|im_start|>", "<|endoftext|>"]
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def _suffixed(size: Size, special: list[str]) -> Any:
    tokenizer = Tokenizer(models.BPE(unk_token=special[-1 if len(special) == 1 else 3]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    for_words = tokenizer.model
    for_words.end_of_word_suffix = "</w>"
    trainer = trainers.BpeTrainer(
        vocab_size=size.pieces, special_tokens=special, end_of_word_suffix="</w>",
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([TALK] * 3, trainer)
    if len(special) == 1:
        return _faced(tokenizer, unk_token="<unk>")
    return _faced(
        tokenizer, pad_token="__null__", bos_token="__start__", eos_token="__end__",
        unk_token="__unk__",
    )  # fmt: skip


def _frame(tokenizer: Any, before: str | None, behind: str | None) -> None:
    ids = [(one, tokenizer.convert_tokens_to_ids(one)) for one in (before, behind) if one]
    form = " ".join(one for one in (before, "$A", behind) if one)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=form, special_tokens=ids
    )


def _faced(tokenizer: Tokenizer, **special: str) -> Any:
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@dataclass(frozen=True)
class Family:
    """A kind of generator: its tokenizer, and its configuration for a size and that tokenizer."""

    tokenizer: Callable[[Size], Any]
    configuration: Callable[[Size, Any], Any]


def _bart_like(kind: Any, **more: Any) -> Callable[[Size, Any], Any]:
    def configured(s: Size, t: Any) -> Any:
        return kind(
            vocab_size=len(t), d_model=s.width, encoder_layers=s.blocks, decoder_layers=s.blocks,
            encoder_attention_heads=s.heads, decoder_attention_heads=s.heads,
            encoder_ffn_dim=2 * s.width, decoder_ffn_dim=2 * s.width,
            max_position_embeddings=s.positions, pad_token_id=t.pad_token_id,
            bos_token_id=t.bos_token_id, eos_token_id=t.eos_token_id,
            decoder_start_token_id=t.bos_token_id, init_std=0.2, forced_eos_token_id=None, **more,
        )  # fmt: skip

    return configured


def _t5_like(kind: Any, **more: Any) -> Callable[[Size, Any], Any]:
    def configured(s: Size, t: Any) -> Any:
        return kind(
            vocab_size=len(t) + 3, d_model=s.width, d_kv=s.width // s.heads, d_ff=2 * s.width,
            num_layers=s.blocks, num_heads=s.heads, pad_token_id=t.pad_token_id,
            eos_token_id=t.eos_token_id, decoder_start_token_id=t.pad_token_id, **more,
        )  # fmt: skip

    return configured


def _bert_pair(kind: Any) -> Callable[[Size, Any], Any]:
    def configured(s: Size, t: Any) -> Any:
        def one(width: int, **more: Any) -> Any:
            return kind(
                vocab_size=len(t), hidden_size=width, num_hidden_layers=s.blocks,
                num_attention_heads=s.heads, intermediate_size=2 * width,
                max_position_embeddings=s.positions, pad_token_id=t.pad_token_id,
                initializer_range=0.2, **more,
            )  # fmt: skip

        pair = hf.EncoderDecoderConfig.from_encoder_decoder_configs(
            one(s.width // 2), one(s.width, is_decoder=True, add_cross_attention=True)
        )
        pair.decoder_start_token_id = t.cls_token_id or t.bos_token_id
        pair.eos_token_id, pair.pad_token_id = t.sep_token_id, t.pad_token_id
        return pair

    return configured


def _gpt(kind: Any, **more: Any) -> Callable[[Size, Any], Any]:
    def configured(s: Size, t: Any) -> Any:
        return kind(
            vocab_size=len(t), n_embd=s.width, n_layer=s.blocks, n_head=s.heads,
            n_positions=s.positions, initializer_range=0.2, bos_token_id=t.bos_token_id,
            eos_token_id=t.eos_token_id, **more,
        )  # fmt: skip

    return configured


def _llama_like(kind: Any, **more: Any) -> Callable[[Size, Any], Any]:
    def configured(s: Size, t: Any) -> Any:
        return kind(
            vocab_size=len(t) + 5, hidden_size=s.width, intermediate_size=2 * s.width,
            num_hidden_layers=s.blocks, num_attention_heads=s.heads,
            max_position_embeddings=s.positions, initializer_range=0.2, bos_token_id=t.bos_token_id,
            eos_token_id=t.eos_token_id, pad_token_id=t.pad_token_id, **more,
        )  # fmt: skip

    return configured


def _gpt2_bytes(size: Size) -> Any:
    return byte_level(size, bos="<|endoftext|>", eos="<|endoftext|>")


def _llama_pieces(size: Size) -> Any:
    return sentence_pieces(size, begins=True)


_GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}

FAMILIES: dict[str, Family] = {
    "bart": Family(framed, _bart_like(hf.BartConfig)),
    "blenderbot": Family(ended, _bart_like(hf.BlenderbotConfig, scale_embedding=True)),
    "blenderbot-small": Family(small_blenderbot, _bart_like(hf.BlenderbotSmallConfig)),
    "t5": Family(sentence_pieces, _t5_like(hf.T5Config)),
    "flan-t5": Family(
        sentence_pieces,
        _t5_like(hf.T5Config, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
    "mt5": Family(sentence_pieces, _t5_like(hf.MT5Config, feed_forward_proj="gated-gelu")),
    "bert-pair": Family(word_pieces, _bert_pair(hf.BertConfig)),
    "roberta-pair": Family(framed, _bert_pair(hf.RobertaConfig)),
    "gpt1": Family(gpt1, _gpt(hf.OpenAIGPTConfig)),
    "gpt2": Family(_gpt2_bytes, _gpt(hf.GPT2Config)),
    "dialogpt": Family(
        _gpt2_bytes,
        _gpt(hf.GPT2Config, task_specific_params={"conversational": {"max_length": 64}}),
    ),
    "gpt-neox": Family(_gpt2_bytes, _llama_like(hf.GPTNeoXConfig)),
    "llama": Family(_llama_pieces, _llama_like(hf.LlamaConfig, **_GROUPED)),
    "qwen": Family(chatty, _llama_like(hf.Qwen2Config, **_GROUPED)),
    "gemma2": Family(
        _llama_pieces,
        _llama_like(hf.Gemma2Config, final_logit_softcapping=5.0, sliding_window=6, **_GROUPED),
    ),
    "gemma3": Family(_llama_pieces, _llama_like(hf.Gemma3TextConfig, sliding_window=6, **_GROUPED)),
}
"""Every family that `chatbot.backbone` knows, but for Meena."""


def random_model(name: str, size: Size | None = None, *, seed: int = 0) -> tuple[Any, Any]:
    """A model of random weights, in evaluation mode, and its tokenizer."""
    family, size = FAMILIES[name], size or Size()
    tokenizer = family.tokenizer(size)
    configuration = family.configuration(size, tokenizer)
    halves = [getattr(configuration, half, None) for half in ("encoder", "decoder")]
    for one in (configuration, *halves):
        if hasattr(one, "vocab_size"):
            one.vocab_size = max(one.vocab_size, size.rows)
    torch.manual_seed(seed)
    is_pair = isinstance(configuration, hf.EncoderDecoderConfig)
    auto: Any = (
        hf.AutoModelForSeq2SeqLM if configuration.is_encoder_decoder else hf.AutoModelForCausalLM
    )
    model = hf.EncoderDecoderModel(configuration) if is_pair else auto.from_config(configuration)
    with torch.no_grad():
        for part, weight in model.named_parameters():
            if part.endswith("bias"):  # zero in a new model, which would hide mistakes
                weight.normal_(0, 0.1)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0, 0.1)
    return model.eval(), tokenizer
