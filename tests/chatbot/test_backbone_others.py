"""Families that are named nowhere: taken apart by the names that transformers gives the parts."""

import pytest
import torch
import transformers as hf

from benchmarks.random_models import Size, byte_level, framed
from chatbot import ModelError
from chatbot.backbone import Backbone
from chatbot.backbones.selftest import disagreements

BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "max_position_embeddings": 128, "init_std": 0.2, "forced_eos_token_id": None,
}  # fmt: skip
LLAMA = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2,
    "pad_token_id": 0,
}  # fmt: skip
PLAIN = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}
SEQ2SEQ = {
    "mbart": (hf.MBartConfig, BART),
    "pegasus": (hf.PegasusConfig, BART),
    "marian": (hf.MarianConfig, BART),
    "m2m-100": (hf.M2M100Config, BART),
    "plbart": (hf.PLBartConfig, BART),
}
CAUSAL = {
    "opt": (hf.OPTConfig, PLAIN | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.2}),
    "gpt-j": (hf.GPTJConfig, GPT | {"rotary_dim": 4}),
    "gpt-neo": (
        hf.GPTNeoConfig,
        {
            "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128,
            "attention_types": [[["global", "local"], 1]], "initializer_range": 0.2,
        },
    ),
    "bloom": (
        hf.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
    ),
    "mistral": (hf.MistralConfig, LLAMA),
    "mixtral": (hf.MixtralConfig, LLAMA | {"num_local_experts": 2}),
    "qwen3": (hf.Qwen3Config, LLAMA | {"head_dim": 8}),
    "phi": (hf.PhiConfig, PLAIN),
    "phi3": (hf.Phi3Config, LLAMA),
    "olmo2": (hf.Olmo2Config, LLAMA),
    "falcon": (hf.FalconConfig, PLAIN),
    "stablelm": (hf.StableLmConfig, LLAMA),
    "gemma": (hf.GemmaConfig, LLAMA | {"head_dim": 8}),
    "starcoder2": (hf.Starcoder2Config, LLAMA),
    "codegen": (hf.CodeGenConfig, GPT | {"rotary_dim": 4}),
    "xglm": (
        hf.XGLMConfig,
        {
            "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4,
            "max_position_embeddings": 128, "init_std": 0.2,
        },
    ),
    "gpt-bigcode": (hf.GPTBigCodeConfig, GPT),
    "biogpt": (hf.BioGptConfig, PLAIN),
    "granite": (hf.GraniteConfig, LLAMA | {"logits_scaling": 4.0}),
    "cohere": (hf.CohereConfig, LLAMA | {"logit_scale": 0.25}),
}  # fmt: skip


def built(kind, told):
    """A backbone of random weights, biases too."""
    is_seq2seq = kind in [kind for kind, _ in SEQ2SEQ.values()]
    tokenizer = framed(Size()) if is_seq2seq else byte_level(Size(), bos="<|e|>", eos="<|e|>")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if is_seq2seq:
        start = tokenizer.eos_token_id
        ids |= {"pad_token_id": tokenizer.pad_token_id, "decoder_start_token_id": start}
    torch.manual_seed(0)
    auto = hf.AutoModelForSeq2SeqLM if is_seq2seq else hf.AutoModelForCausalLM
    model = auto.from_config(kind(vocab_size=len(tokenizer), **(told | ids)))
    with torch.no_grad():
        for part, weight in model.named_parameters():
            if part.endswith("bias"):
                weight.normal_(0, 0.1)
    return Backbone(model, tokenizer, name="other", digest="")


@pytest.mark.parametrize("name", [*SEQ2SEQ, *CAUSAL])
def test_other_families_are_taken_apart_rightly(name):
    assert disagreements(built(*(SEQ2SEQ | CAUSAL)[name])) == []


def test_a_model_without_keys_and_values_is_refused_with_the_reason():
    mamba = built(hf.MambaConfig, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8})
    with pytest.raises(ModelError, match=r"a layer of this model keeps a .*, not keys and values"):
        mamba.start([[1, 2]], 1)
