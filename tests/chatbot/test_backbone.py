"""Laws of loading a generator: what is whole loads, what is not is told in one line."""

import json
import os
import shutil

import pytest
import torch

from chatbot import Chatbot, ModelError
from chatbot.backbone import Backbone
from chatbot.prompt import SPECIAL_IDS


def delete(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()

    return change


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def configure(**values):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def forget_marker(folder):
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<user>", "<person>"))
    settings = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(settings.replace("<user>", "<person>"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (delete("config.json"), "has no config.json"),
        (delete("model.safetensors"), "model.safetensors"),
        (delete("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
        (write("config.json", '{"a'), "not a valid JSON"),
        (write("tokenizer.json", '{"a'), "cannot load"),
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), "cannot load"),
        (configure(model_type="bert"), "is a 'bert' model"),
        (configure(model_type="unheard-of"), "unheard-of"),
        (configure(d_model="big"), "d_model"),
        (configure(d_model=64), "cannot load"),
        (configure(decoder_layers=3), "lack 3. of those"),
        (forget_marker, "lacks <user>"),
    ],
    ids=[
        "no config",
        "no weights",
        "no tokenizer",
        "broken config",
        "broken tokenizer",
        "half the weights",
        "other model",
        "unknown model",
        "wrong type",
        "wrong width",
        "missing layer",
        "missing marker",
    ],
)
def test_a_broken_model_is_told_in_one_line(tiny_model_dir, tmp_path, change, told):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    change(folder)
    with pytest.raises(ModelError, match=told) as raised:
        Backbone.load(folder, device="cpu")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dtype": "int3"}, "unknown dtype 'int3'; give auto, float32"),
        ({"device": "abacus"}, "unknown device 'abacus'; give auto, cpu"),
        ({"device": "meta"}, "'meta' is not used here; give auto, cpu"),
        ({"device": "cuda:99"}, "but torch sees .* of 'cuda'; use another, or cpu"),
        ({"device": "mps:9"}, "but torch sees .* of 'mps'; use another, or cpu"),
    ],
    ids=str,
)
def test_what_torch_does_not_know_is_refused(tiny_model_dir, settings, told):
    with pytest.raises(ModelError, match=told):
        Chatbot.load(tiny_model_dir, **settings)


@pytest.mark.parametrize("name", ["/no/such/folder", "../nowhere", "~/nowhere", "two words"])
def test_a_folder_that_is_not_there_is_told(name):
    with pytest.raises(ModelError, match=r"no folder .*give one made by"):
        Chatbot.load(name)


def test_a_loaded_model_is_frozen_and_knows_its_weights(tiny_model_dir, tiny_bot):
    again = Backbone.load(tiny_model_dir, device="cpu", dtype="bfloat16")
    assert again.identity == tiny_bot.backbone.identity
    assert len(again.identity["digest"]) == 64
    assert again.special == SPECIAL_IDS
    assert not again.model.training
    assert not any(weight.requires_grad for weight in again.model.parameters())
    assert again.logits(torch.zeros(1, 32, dtype=torch.bfloat16)).dtype == torch.float32


def test_other_weights_have_another_digest(tiny_model_dir, tiny_bot, tmp_path):
    shutil.copytree(tiny_model_dir, tmp_path, dirs_exist_ok=True)
    model = Backbone.load(tmp_path, device="cpu", dtype="float32").model
    model.model.decoder_norm.weight[0] += 1e-3
    model.save_pretrained(tmp_path)
    other = Backbone.load(tmp_path, device="cpu")
    assert other.identity["digest"] != tiny_bot.backbone.identity["digest"]
