"""Laws of a generator's files: what is read of them, and which family is refused.

How they are found is in test_hub.py.
"""

import json
import shutil

import pytest
import torch

from chatbot import ModelError
from chatbot.backbone import Backbone


def refused(name, **settings):
    with pytest.raises(ModelError) as raised:
        Backbone.load(name, device="cpu", **settings)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def test_pickled_weights_are_read_only_when_asked_for(gpt2_dir, tmp_path):
    shutil.copytree(gpt2_dir, tmp_path, dirs_exist_ok=True)
    backbone = Backbone.load(gpt2_dir, device="cpu", dtype="float32")
    (tmp_path / "model.safetensors").unlink()
    torch.save(backbone.model.state_dict(), tmp_path / "pytorch_model.bin")  # noqa: TID251
    assert "--allow-pickle" in refused(tmp_path)
    loaded = Backbone.load(tmp_path, device="cpu", dtype="float32", allow_pickle=True)
    assert torch.equal(loaded.output_embedding(), backbone.output_embedding())


def test_all_shards_count(gpt2_dir, tmp_path):
    backbone = Backbone.load(gpt2_dir, device="cpu", dtype="float32")
    shutil.copytree(gpt2_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    backbone.model.save_pretrained(tmp_path, max_shard_size="30KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    first = Backbone.load(tmp_path, device="cpu").identity["digest"]
    backbone.model.transformer.ln_f.weight.data += 1
    backbone.model.save_pretrained(tmp_path, max_shard_size="30KB")
    backbone.model.transformer.ln_f.weight.data -= 1
    assert Backbone.load(tmp_path, device="cpu").identity["digest"] != first
    shards[-1].unlink()
    assert f"lacks 1 of its weight files ({shards[-1].name})" in refused(tmp_path)


def test_another_configuration_has_another_digest(gpt2_dir, tmp_path):
    shutil.copytree(gpt2_dir, tmp_path, dirs_exist_ok=True)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"n_head": 2}))
    digests = {Backbone.load(one, device="cpu").identity["digest"] for one in (gpt2_dir, tmp_path)}
    assert len(digests) == 2


def test_a_model_of_the_cache_is_the_one_of_the_folder(gpt2_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--someone--tiny"
    snapshot = place / "snapshots" / "abc"
    shutil.copytree(gpt2_dir, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "v1").write_text("abc")
    loaded = Backbone.load("someone/tiny@v1", device="cpu")
    assert loaded.source == "someone/tiny@v1"
    assert loaded.identity["digest"] == Backbone.load(gpt2_dir, device="cpu").identity["digest"]


def test_a_model_that_only_reads_is_refused(gpt2_dir, tmp_path):
    shutil.copytree(gpt2_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "reads text and does not write it" in refused(tmp_path)


@pytest.mark.parametrize("change", ["scaled logits", "none"])
def test_a_family_that_is_not_known_is_tried_out(gpt2_dir, monkeypatch, change):
    monkeypatch.setattr("chatbot.backbone.KNOWN", ())
    if change == "none":
        assert Backbone.load(gpt2_dir, device="cpu").prompt_format == "lines"
        return
    from transformers import GPT2LMHeadModel

    forward = GPT2LMHeadModel.forward

    def scaled(self, *args, **given):
        out = forward(self, *args, **given)
        out.logits = 3 * out.logits
        return out

    monkeypatch.setattr(GPT2LMHeadModel, "forward", scaled)
    assert "its logits are not its output embedding times" in refused(gpt2_dir)
