"""How much a model of transformers can read and write, and what its replies begin behind.

Knows configurations only.
"""

from typing import Any

from chatbot.errors import ModelError

ENDLESS = 1 << 20
"""Positions of a model whose positions have no end."""

USUAL = 512
"""Pieces that an encoder without a limit reads, as T5 was trained with."""


def positions(config: Any, tokenizer: Any) -> int:
    """Most pieces that the encoder reads."""
    told = int(getattr(tokenizer, "model_max_length", None) or ENDLESS)
    return min(_positions(getattr(config, "encoder", config), USUAL), told)


def reply_positions(config: Any) -> int:
    """Positions of the decoder: of the reply, and of the prompt where there is no encoder."""
    return _positions(getattr(config, "decoder", config), ENDLESS)


def _positions(config: Any, otherwise: int) -> int:
    text = config.get_text_config()
    told = getattr(text, "max_position_embeddings", None)
    if told is None:
        return otherwise
    # RoBERTa and its kin count from behind the padding piece.
    is_shifted = text.model_type in ("roberta", "xlm-roberta", "camembert")
    return int(told) - (text.pad_token_id + 1 if is_shifted else 0)


def begin_of_replies(model: Any, tokenizer: Any) -> list[int]:
    """The start piece of the decoder, and the piece that must follow it if there is one.

    Raises:
        ModelError: nothing says what the decoder begins with.
    """
    told = [model.generation_config, model.config]
    starts = [one.decoder_start_token_id for one in told if hasattr(one, "decoder_start_token_id")]
    starts += [getattr(one, "bos_token_id", None) for one in told]
    starts += [tokenizer.bos_token_id, tokenizer.cls_token_id]
    start = next((one for one in starts if one is not None), None)
    if start is None:
        raise ModelError(
            "neither the model nor its tokenizer says what a reply begins with; set "
            "decoder_start_token_id in generation_config.json"
        )
    forced = model.generation_config.forced_bos_token_id
    return [int(start)] if forced is None else [int(start), int(forced)]
