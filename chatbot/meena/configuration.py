"""Shape and token ids of a Meena model; knows nothing of tensors."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class MeenaConfig(PreTrainedConfig):
    """Configuration of the Evolved Transformer seq2seq (So et al. 2019; Adiwardana et al. 2020).

    The defaults are the published Meena shape: 1 encoder block, 13 decoder blocks, width 2,560,
    32 heads, 8,192 word pieces, 2.59 billion parameters.

    Attributes:
        d_model: width d of the hidden states; divisible by 2, `num_heads` and `wide_heads`.
        num_heads: heads h of the ordinary attention layers.
        max_context: longest encoder input the model was trained for, in pieces.
        max_reply: longest decoder output, in pieces.
        dropout: probability on every sub-layer output, used in training only.
        label_smoothing: used in the training loss only.
    """

    model_type = "meena"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "hidden_size": "d_model",
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "num_heads",
    }

    vocab_size: int = 8192
    d_model: int = 2560
    encoder_layers: int = 1
    decoder_layers: int = 13
    num_heads: int = 32
    max_context: int = 128
    max_reply: int = 128
    dropout: float = 0.1
    label_smoothing: float = 0.0
    layer_norm_eps: float = 1e-6
    use_cache: bool = True
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]  # transformers has none
        for name, divisor in (("2", 2), ("num_heads", self.num_heads), ("wide", self.wide_heads)):
            if self.d_model % divisor:
                raise ValueError(
                    f"d_model {self.d_model} is not divisible by {divisor} ({name}); "
                    "choose a width that the heads divide"
                )

    @property
    def wide_heads(self) -> int:
        """Heads H of the decoder's first self-attention ("16-head" layer of the paper)."""
        return max(min(2 * self.num_heads, 16), self.num_heads)


AutoConfig.register("meena", MeenaConfig)
