"""What the training tests share: a tiny packed corpus, dialogues written to files, the commands."""

import json

import pytest
from typer.testing import CliRunner

from chatbot.training.batches import PackedCorpus
from chatbot.training.commands import app
from chatbot.training.packing import pack


@pytest.fixture(scope="session")
def tiny_corpus(sample_file, tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "sample"
    pack([sample_file], tiny_tokenizer, folder)
    return PackedCorpus(folder)


@pytest.fixture
def write_dialogues(tmp_path):
    """Writes dialogues, lists of turns, to `<source>.jsonl`; the path."""

    def write(source, dialogues):
        path = tmp_path / f"{source}.jsonl"
        records = ({"source": source, "lang": "en", "turns": turns} for turns in dialogues)
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        return path

    return write


@pytest.fixture
def numbered():
    """`numbered(first, n)`: n dialogues of one reply each, all different."""
    words = ("apple", "bread", "chair", "door", "eagle", "flower", "garden", "house", "isle", "joy")

    def dialogues(first, n):
        names = (" ".join(words[int(d)] for d in f"{i:04d}") for i in range(first, first + n))
        return [["Hello, and who are you?", f"My name is {name}"] for name in names]

    return dialogues


@pytest.fixture(scope="session")
def made(tmp_path_factory, sample_file):
    """A folder in which every command has been run once, on the sample dialogues."""
    root = tmp_path_factory.mktemp("made")
    data = root / "dialogues"
    data.mkdir()
    lines = sample_file.read_text("utf-8").splitlines(keepends=True)
    (data / "sample.train.jsonl").write_text("".join(lines[:-8]), "utf-8")
    (data / "sample.valid.jsonl").write_text("".join(lines[-8:]), "utf-8")
    (root / "recipe.json").write_text(
        json.dumps(
            {
                "shape": {"vocab_size": 600, "d_model": 16, "num_heads": 2, "decoder_layers": 1},
                "stages": [{"corpus": "chat-train", "steps": 4, "max_tokens": 64}],
                "valid": "chat-valid",
                "tokens_per_batch": 600,
                "eval_every": 2,
                "log_every": 1,
                "precision": "no",
            }
        )
    )

    def call(*arguments):
        CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    tokenizer = root / "tokenizer"
    call("tokenizer", "--data", data, "--out", tokenizer, "--vocab-size", 600)
    for split in ("train", "valid"):
        call("pack", "--data", data, "--tokenizer", tokenizer, "--split", split,
             "--out", root / "packed" / f"chat-{split}")  # fmt: skip
    call("run", root / "recipe.json", "--data", root / "packed", "--out", root / "run", "--cpu")
    call("export", "--run", root / "run", "--tokenizer", tokenizer, "--out", root / "model",
         "--dtype", "fp32")  # fmt: skip
    return root
