"""The whole way from dialogue files to a talking folder, by the commands, in seconds."""

import json

import pytest
import torch
from typer.testing import CliRunner

from chatbot.bot import Chatbot
from chatbot.errors import ChatbotError, CorpusError, TrainingError
from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.prompt import MAX_TOKENS
from chatbot.training import samples
from chatbot.training.batches import PackedCorpus
from chatbot.training.commands import RECIPES, app
from chatbot.training.recipe import read_recipe
from chatbot.training.tokenizer import load_tokenizer
from chatbot.types import Sampling


def call(*arguments):
    """Runs `chatbot train ...`, in whose `main` errors would become messages."""
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_the_tokenizer_has_the_size_asked_for(made):
    assert len(load_tokenizer(made / "tokenizer")) == 600


def test_the_corpora_are_packed_by_split(made):
    train, valid = (PackedCorpus(made / "packed" / f"chat-{s}") for s in ("train", "valid"))
    assert train.meta["files"].keys() == {"sample.train.jsonl"}
    assert valid.meta["files"].keys() == {"sample.valid.jsonl"}


def test_pack_tells_the_counts(made, tmp_path):
    told = call("pack", "--data", made / "dialogues", "--tokenizer", made / "tokenizer",
                "--out", tmp_path / "out").stdout  # fmt: skip
    assert "sample" in told
    assert f"{len(PackedCorpus(tmp_path / 'out')):,} replies" in told


def test_the_run_ends_where_its_recipe_says_with_paths_from_data(made):
    state = json.loads((made / "run" / "checkpoint" / "state.json").read_text())
    assert state["progress"]["step"] == 4
    recipe = read_recipe(made / "run" / "recipe.json")
    assert recipe.stages[0].corpus == str(made / "packed" / "chat-train")


def test_the_exported_folder_talks(made):
    bot = Chatbot.load(made / "model", device="cpu", guarded=False)
    assert bot.respond("Hello!", seed=1, sampling=Sampling(candidates=2, max_new_tokens=4)).text
    names = {path.name for path in (made / "model").iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}


def test_the_exported_weights_are_the_best_ones(made, tmp_path):
    best = MeenaForConditionalGeneration.from_pretrained(made / "run" / "best")
    same = MeenaForConditionalGeneration.from_pretrained(made / "model")
    for name, weight in best.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name
    assert same.config.max_context == 64  # the longest that the run has seen
    call("export", "--run", made / "run", "--tokenizer", made / "tokenizer", "--out", tmp_path)
    half = MeenaForConditionalGeneration.from_pretrained(tmp_path)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


def test_weight_files_stay_below_the_limit(made, tmp_path, monkeypatch):
    monkeypatch.setattr("chatbot.training.export.MAX_FILE_SIZE", "20KB")
    call("export", "--run", made / "run", "--tokenizer", made / "tokenizer", "--out", tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    for file in files:
        header = int.from_bytes(file.read_bytes()[:8], "little")
        assert file.stat().st_size <= 20_000 + 8 + header
    assert MeenaForConditionalGeneration.from_pretrained(tmp_path).config.d_model == 16


def test_what_does_not_fit_together_is_said(made, tmp_path, tiny_tokenizer):
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    run, out = made / "run", tmp_path / "out"
    with pytest.raises(TrainingError, match="packed with another tokenizer"):
        call("export", "--run", run, "--tokenizer", tmp_path / "other", "--out", out)
    with pytest.raises(TrainingError, match="cannot read the recipe"):
        call("export", "--run", tmp_path, "--tokenizer", made / "tokenizer", "--out", out)
    with pytest.raises(TrainingError, match=r"no recipe file gpo.*known: cpu, gpu, meena-2\.6b"):
        call("run", "gpo", "--out", out)
    with pytest.raises(CorpusError, match=r"chat-train is no packed corpus"):
        call("run", made / "recipe.json", "--data", tmp_path, "--out", out, "--cpu")
    with pytest.raises(ChatbotError, match="no folder"):
        call("tokenizer", "--data", tmp_path / "nowhere", "--out", out)
    assert not out.exists()


def test_a_best_folder_that_is_missing_is_said(made, tmp_path):
    (tmp_path / "recipe.json").write_bytes((made / "run" / "recipe.json").read_bytes())
    with pytest.raises(TrainingError, match="holds no model"):
        call(
            "export", "--run", tmp_path, "--tokenizer", made / "tokenizer", "--out", tmp_path / "o"
        )


# -- recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_recipes_are_recipes_with_room_for_the_longest_example(path):
    recipe = read_recipe(path)
    assert recipe.tokens_per_batch >= 2 * MAX_TOKENS
    assert MeenaConfig(**recipe.shape).d_model == recipe.shape["d_model"]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("cpu", 10.5e6, 11.5e6), ("gpu", 60e6, 80e6), ("meena-2.6b", 2.59e9, 2.60e9)],
)
def test_shipped_recipes_have_the_size_they_promise(name, least, most):
    config = MeenaConfig(**read_recipe(RECIPES / f"{name}.json").shape)
    with torch.device("meta"):
        model = MeenaForConditionalGeneration(config)
    assert least <= model.num_parameters() <= most


# -- samples


def test_samples_are_the_bot_with_itself_and_come_again(made, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "OPENINGS", samples.OPENINGS[:2])
    monkeypatch.setattr(samples, "TURNS", 4)
    for name in ("a", "b"):
        call("samples", "--model", made / "model", "--out", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    dialogues = samples.read_samples(tmp_path / "a")
    assert [dialogue[0] for dialogue in dialogues] == list(samples.OPENINGS)
    assert all(len(dialogue) == 4 for dialogue in dialogues)
    bot = Chatbot.load(made / "model", guarded=False)
    assert bot.respond(dialogues[1][:2], seed=1001).text == dialogues[1][2]


def test_twenty_openings_of_ten_turns_each():
    assert len(set(samples.OPENINGS)) == 20
    assert samples.TURNS == 10


def test_a_file_without_samples_is_named(tmp_path):
    (tmp_path / "bad").write_text("{")
    for name in ("bad", "none"):
        with pytest.raises(CorpusError, match=f"{name} holds no sample dialogues"):
            samples.read_samples(tmp_path / name)
