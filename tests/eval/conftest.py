"""What the tests of `eval` share: a random model of a few thousand weights with its tokenizer."""

import json
import lzma

import pytest
import torch

from chatbot.backbone import Backbone
from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.training.tokenizer import train_tokenizer

TEXTS = ["Hello, how are you today?", "I am fine, the weather is good.", "안녕하세요, 반가워요."]


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(TEXTS * 20, vocab_size=400)
    torch.manual_seed(0)
    config = MeenaConfig(vocab_size=len(tokenizer), d_model=16, num_heads=2, decoder_layers=1)
    MeenaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tiny_model_dir):
    return Backbone.load(tiny_model_dir, device="cpu", dtype="float32")


@pytest.fixture
def write_jsonl(tmp_path):
    """Writes records, or lines of text as they are, to `name`; the path."""

    def write(name, records):
        lines = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records)
        data = "".join(line + "\n" for line in lines).encode()
        path = tmp_path / name
        path.write_bytes(lzma.compress(data) if name.endswith(".xz") else data)
        return path

    return write


@pytest.fixture
def read_jsonl():
    return lambda path: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
