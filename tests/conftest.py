"""What every test is held to: no network, and a reason where a GPU is missing.

And what many share: a tiny bot with random weights.
"""

import os
import socket
import tempfile
from pathlib import Path

import pytest

# Read when the libraries are imported, so it stands above everything that imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
# A person's own heads, presets and conversations are none of the tests' business.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="chatbot-tests-")
# Tiny models gain nothing from threads, which wait for each other where the machine is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Skips `gpu` tests where there is none."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuses connections to other machines, whichever library asks for them."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise RuntimeError(f"a test without the marker `network` connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)


# The fixtures import late: most tests need no torch.


@pytest.fixture(scope="session")
def sample_file():
    import chatbot.training

    return Path(chatbot.training.__file__).with_name("sample.jsonl")


@pytest.fixture(scope="session")
def tiny_tokenizer(sample_file):
    from chatbot.training.corpus import read_dialogues
    from chatbot.training.tokenizer import train_tokenizer

    texts = [turn for dialogue in read_dialogues(sample_file) for turn in dialogue.turns]
    return train_tokenizer(texts, vocab_size=600)


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_tokenizer, tmp_path_factory):
    """A generator of random weights that often ends its replies early."""
    import torch

    from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration

    torch.manual_seed(0)
    config = MeenaConfig(vocab_size=len(tiny_tokenizer), d_model=32, num_heads=4, decoder_layers=2)
    model = MeenaForConditionalGeneration(config)
    with torch.no_grad():  # small embeddings: else every piece calls for itself
        model.model.shared.weight *= 0.1
        model.model.shared.weight[config.eos_token_id] *= 5
        model.model.decoder_norm.weight.fill_(30)
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory):
    """A decoder-only model of transformers, of random weights; not to be changed."""
    from benchmarks.random_models import Size, random_model

    folder = tmp_path_factory.mktemp("gpt2")
    model, tokenizer = random_model("gpt2", Size(blocks=2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bot(tiny_model_dir):
    from chatbot import Chatbot

    return Chatbot.load(tiny_model_dir, device="cpu", dtype="float32", guarded=False)
