"""Laws of `chatbot doctor`: it tells what works, and ends with code 1 where something does not."""

import pytest
from typer.testing import CliRunner

from benchmarks.random_models import FAMILIES, random_model
from chatbot import Chatbot, Sampling, UnknownAttributeError, doctor
from chatbot.backbone import Backbone
from chatbot.cli import app


@pytest.fixture(autouse=True)
def _light(monkeypatch):
    """Without the text encoder, which other tests load, and with few candidates."""
    checks = {name: check for name, check in doctor._CHECKS.items() if name != "filter"}
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    monkeypatch.setattr(doctor, "USUAL", doctor.FEW)


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", "--device", "cpu", *map(str, arguments)])


def test_a_whole_model_passes(gpt2_dir):
    found = run("--model", gpt2_dir, "--dtype", "float32")
    assert found.exit_code == 0, found.output
    for told in (
        "a gpt2 of", "format lines", "strength 0", "changes nothing", "steers, hidden",
        "steers, layers", "steers, pplm", "joy en", "chatbot attributes train", "s steered",
    ):  # fmt: skip
        assert told in found.output
    assert "FAILED" not in found.output


@pytest.mark.parametrize(
    "family",
    # Every family is taken apart in test_backbone_families.py; here one of each kind is enough.
    [
        pytest.param(name, marks=() if name in ("meena", "bart", "llama") else pytest.mark.slow)
        for name in ("meena", *FAMILIES)
    ],
)
def test_every_family_passes(family, tmp_path, tiny_model_dir, monkeypatch):
    monkeypatch.setattr("chatbot.reference._STEPS", 6)  # enough to bind words by
    monkeypatch.setattr(doctor, "FEW", Sampling(candidates=2, max_new_tokens=6))
    for slow in ("words", "speed"):
        monkeypatch.delitem(doctor._CHECKS, slow)
    folder = tiny_model_dir if family == "meena" else tmp_path
    if family != "meena":
        for part in random_model(family):
            part.save_pretrained(folder)
    found = run("--model", folder, "--dtype", "float32")
    assert found.exit_code == 0, found.output
    marked = [line.split(" ok ")[0].strip() for line in found.output.splitlines() if " ok " in line]
    steered = ["steers, hidden", "steers, layers", "steers, pplm"]
    assert marked == ["loads", "parts", "generates", "strength 0", *steered]


def test_a_model_that_is_not_there_fails(tmp_path):
    found = run("--model", tmp_path / "nowhere")
    assert found.exit_code == 1
    assert "loads          FAILED  there is no folder" in found.output


def test_one_failure_does_not_hide_the_rest(gpt2_dir, monkeypatch):
    monkeypatch.setattr(Backbone, "last_blocks", lambda *_: 1 / 0)
    found = run("--model", gpt2_dir, "--dtype", "float32")
    assert found.exit_code == 1
    assert "parts          FAILED  ZeroDivisionError" in found.output
    assert "generates      ok" in found.output


def test_heads_for_another_model_are_refused_with_the_command_that_trains_them(gpt2_dir):
    bot = Chatbot.load(gpt2_dir, device="cpu", guarded=False)
    assert bot.steerer.heads == ()
    assert bot.steerer.refused  # the shipped ones are for the shipped generator
    with pytest.raises(
        UnknownAttributeError, match=f"train --all --data FOLDER --model {gpt2_dir}"
    ):
        bot.check({"trust": 1.0})
