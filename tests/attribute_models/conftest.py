"""What the tests of `attribute_models` share: the pieces of a tiny tokenizer, lists from words."""

from pathlib import Path

import pytest
import torch

import chatbot.training
from attribute_models.lexicon import load_list
from attribute_models.trie import Pieces
from chatbot.training.corpus import read_dialogues
from chatbot.training.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def pieces():
    sample = Path(chatbot.training.__file__).with_name("sample.jsonl")
    texts = [turn for dialogue in read_dialogues(sample) for turn in dialogue.turns]
    tokenizer = train_tokenizer(
        [*texts, "축구 축구를 게임 happy games window win"] * 5, vocab_size=600
    )
    return Pieces.of(
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        [tokenizer.decode([i], skip_special_tokens=True) for i in range(len(tokenizer))],
    )


@pytest.fixture
def words(tmp_path):
    r"""`words("happy", "glad\t0.5")`: the list of these lines."""

    def make(*lines, name="mine"):
        file = tmp_path / f"{name}.txt"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return load_list(file)

    return make


@pytest.fixture
def uniform(pieces):
    """Continuations of a generator that expects every piece equally."""
    n = len(pieces.texts)
    return lambda paths: torch.full((len(paths), n), 1 / n)


@pytest.fixture
def markov(pieces):
    """Continuations that depend on the last piece only; `markov.table` is (V, V)."""
    n = len(pieces.texts)
    table = torch.randn(n, n, generator=torch.Generator().manual_seed(1)).mul(3).softmax(-1)

    def continuations(paths):
        return table[[path[-1] for path in paths]]

    continuations.table = table
    return continuations
