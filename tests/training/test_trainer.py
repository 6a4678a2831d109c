"""Laws of the trainer, on the sample dialogues and a tiny model: a run is a few seconds."""

import csv
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM

from chatbot.errors import CorpusError, TrainingError
from chatbot.training import trainer
from chatbot.training.packing import pack
from chatbot.training.recipe import Recipe, read_recipe
from chatbot.training.tokenizer import train_tokenizer
from chatbot.training.trainer import train

STEPS = 12
STEP = trainer._Run._step


@pytest.fixture(scope="module")
def recipe(tiny_tokenizer, sample_file, tmp_path_factory):
    """Two stages; checkpoints fall between the logged rows; dropout, so that chance matters."""
    folder = tmp_path_factory.mktemp("corpora")
    pack([sample_file], tiny_tokenizer, folder / "train")
    pack([sample_file], tiny_tokenizer, folder / "valid", split="valid")
    shape = {"vocab_size": 600, "d_model": 32, "num_heads": 2, "decoder_layers": 2, "dropout": 0.1}
    return Recipe(
        shape=shape,
        stages=[
            {"corpus": str(folder / "train"), "steps": 4, "infill": 0.3, "max_tokens": 64},
            {"corpus": str(folder / "train"), "steps": 8, "drop_context": 0.1},
        ],
        valid=str(folder / "valid"),
        tokens_per_batch=1024,
        accumulate=2,
        learning_rate=1e-2,
        warmup=3,
        eval_every=6,
        eval_batches=3,
        checkpoint_every=5,
        log_every=2,
        precision="no",
    )


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(recipe, out, cpu=True)
    return out


def metrics(out, *columns):
    """The named columns of a run's metrics, row by row."""
    with (out / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]


def step_of_checkpoint(out):
    return json.loads((out / "checkpoint" / "state.json").read_text())["progress"]["step"]


def assert_same_run(out, other):
    """Same losses, same weights, same state of the optimizers and of chance, bit for bit."""
    columns = ("step", "stage", "lr", "tokens", "loss", "valid_nll")
    assert metrics(out, *columns) == metrics(other, *columns)
    for name in (
        "best/model.safetensors",
        "checkpoint/model.safetensors",
        "checkpoint/optimizer.safetensors",
    ):
        ours, theirs = load_file(out / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


class Killed(BaseException):
    """Stands for a kill inside this process: no handler of the trainer's may catch it."""


def before_step(monkeypatch, step, action):
    """Has `action()` run when the trainer is about to take the step after `step`."""

    def stepping(run):
        if run.progress.step == step:
            action()
        return STEP(run)

    monkeypatch.setattr(trainer._Run, "_step", stepping)


# -- learning


def test_the_loss_falls_and_the_best_model_loads(finished, recipe):
    losses = [float(loss) for (loss,) in metrics(finished, "loss") if loss]
    assert losses[-1] < losses[0] - 0.2
    assert losses[0] == pytest.approx(math.log(600), abs=0.8)
    model = AutoModelForSeq2SeqLM.from_pretrained(finished / "best")
    assert model.config.d_model == recipe.shape["d_model"]
    assert {file.name for file in (finished / "best").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }


def test_validation_is_logged_and_the_best_is_the_lowest(finished):
    rows = [(int(step), float(nll)) for step, nll in metrics(finished, "step", "valid_nll") if nll]
    assert [step for step, _ in rows] == [6, 12]
    state = json.loads((finished / "checkpoint" / "state.json").read_text())
    assert round(state["progress"]["best"], 4) == min(nll for _, nll in rows)


def test_the_second_stage_begins_where_the_first_ends(finished):
    stages = [int(stage) for stage, loss in metrics(finished, "stage", "loss") if loss]
    assert stages == [0, 0, 1, 1, 1, 1]


def test_the_same_recipe_gives_the_same_weights(finished, recipe, tmp_path):
    torch.rand(7)  # whatever else used the global state before
    train(recipe, tmp_path / "again", cpu=True)
    assert_same_run(tmp_path / "again", finished)


def test_a_finished_run_is_left_alone(finished, recipe):
    before = (finished / "metrics.csv").read_bytes()
    assert train(recipe, finished, cpu=True).step == STEPS
    assert (finished / "metrics.csv").read_bytes() == before


def test_both_optimizers_move_every_weight(recipe, tmp_path):
    start = trainer._make_model(recipe).state_dict()
    for optimizer in ("muon", "adamw"):
        short = recipe.model_copy(
            update={
                "optimizer": optimizer,
                "stages": [recipe.stages[1].model_copy(update={"steps": 2})],
            }
        )
        train(short, tmp_path / optimizer, cpu=True)
        moved = load_file(tmp_path / optimizer / "checkpoint" / "model.safetensors")
        assert all(not torch.equal(moved[name], start[name]) for name in moved)


def test_a_run_starts_from_another_runs_model(finished, recipe, tmp_path):
    second = recipe.model_copy(update={"init_from": str(finished / "best"), "seed": 2})
    train(second, tmp_path / "second", cpu=True)
    first_loss = float(metrics(tmp_path / "second", "loss")[0][0])
    assert first_loss < float(metrics(finished, "loss")[0][0]) - 0.2


# -- ends and goes on

KILLED_RUN = """
import os, signal, sys
from chatbot.training import trainer
from chatbot.training.recipe import read_recipe

step = trainer._Run._step

def until_eight(run):
    if run.progress.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(run)

trainer._Run._step = until_eight
trainer.train(read_recipe(sys.argv[1]), sys.argv[2], cpu=True)
"""


def test_a_killed_run_goes_on_as_if_nothing_had_been(finished, recipe, tmp_path):
    path, out = tmp_path / "recipe.json", tmp_path / "killed"
    path.write_text(recipe.model_dump_json())
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, path, out],
        check=False,
        capture_output=True,
        cwd=Path(trainer.__file__).parents[2],
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert step_of_checkpoint(out) == 5
    assert metrics(out, "step")[-1] == ("8",)  # after the checkpoint: cut when it goes on
    train(read_recipe(path), out, cpu=True)
    assert_same_run(out, finished)


def test_a_kill_while_a_checkpoint_changes_places_loses_none(
    finished, recipe, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    rename, taken = Path.rename, []

    def renaming(self, target):
        if Path(target) == out / "checkpoint":
            taken.append(self)
            if len(taken) == 2:
                raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renaming)
    with pytest.raises(Killed):
        train(recipe, out, cpu=True)
    assert not (out / "checkpoint").exists()
    monkeypatch.undo()
    before_step(monkeypatch, 0, lambda: pytest.fail("the run began again"))
    train(recipe, out, cpu=True)
    assert_same_run(out, finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_ends_after_the_step_with_a_checkpoint(
    finished, recipe, tmp_path, monkeypatch, number
):
    out = tmp_path / "stopped"
    handler = signal.getsignal(number)
    before_step(monkeypatch, 6, lambda: os.kill(os.getpid(), number))
    assert train(recipe, out, cpu=True).step == 7
    assert step_of_checkpoint(out) == 7
    assert signal.getsignal(number) is handler
    monkeypatch.undo()
    assert train(recipe, out, cpu=True).step == STEPS
    assert_same_run(out, finished)


@pytest.mark.slow  # six processes that load torch
@pytest.mark.parametrize(("average_every", "stopped_at"), [(1, 7), (4, 8)])
def test_two_processes_end_together_and_go_on(recipe, tmp_path, average_every, stopped_at):
    meeting = {"average_every": average_every, "checkpoint_every": 4, "eval_every": 4}
    recipe = Recipe(**recipe.model_dump() | meeting)
    path = tmp_path / "recipe.json"
    path.write_text(recipe.model_dump_json())
    script = tmp_path / "two.py"
    script.write_text(
        "import os, signal, sys\n"
        "from chatbot.training import trainer\n"
        "from chatbot.training.recipe import read_recipe\n"
        "step = trainer._Run._step\n"
        "def stepping(run):\n"
        "    if sys.argv[3] == 'stop' and (run.progress.step, os.environ['RANK']) == (6, '1'):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return step(run)\n"
        "trainer._Run._step = stepping\n"
        "trainer.train(read_recipe(sys.argv[1]), sys.argv[2], cpu=True)\n"
    )

    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

    def run(name, mode):
        subprocess.run(
            [*launch, script, path, tmp_path / name, mode],
            check=True,
            cwd=Path(trainer.__file__).parents[2],
            env=os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
            timeout=300,
        )

    run("whole", "go")
    run("stopped", "stop")
    assert step_of_checkpoint(tmp_path / "stopped") == stopped_at
    run("stopped", "go")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_another_number_of_processes_is_announced(finished, recipe, tmp_path, caplog):
    out = shutil.copytree(finished, tmp_path / "by_two")
    path = out / "checkpoint" / "optimizer.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"rng": tensors["rng"].repeat(2)}, path)
    train(recipe, out, cpu=True)
    assert "left by 2 processes and goes on with 1" in caplog.text


# -- the disk


@contextmanager
def largest_file(n_bytes):
    """Writing more than so many bytes to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_run_and_loses_no_checkpoint(finished, recipe, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with ExitStack() as full_disk:
        before_step(monkeypatch, 7, lambda: full_disk.enter_context(largest_file(20_000)))
        with pytest.raises(TrainingError, match=r"cannot write .*checkpoint"):
            train(recipe, out, cpu=True)
    monkeypatch.undo()
    AutoModelForSeq2SeqLM.from_pretrained(out / "checkpoint")
    assert step_of_checkpoint(out) == 5
    assert {file.name for file in out.iterdir()} == {
        "best",
        "checkpoint",
        "metrics.csv",
        "recipe.json",
    }
    train(recipe, out, cpu=True)
    assert_same_run(out, finished)


def test_metrics_that_cannot_be_written_end_the_run(recipe, tmp_path):
    (tmp_path / "run" / "metrics.csv").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"cannot write .*metrics\.csv"):
        train(recipe, tmp_path / "run", cpu=True)


def test_a_folder_that_cannot_be_made_is_named(recipe, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"cannot write .*file.run"):
        train(recipe, tmp_path / "file" / "run", cpu=True)


# -- what is refused


def test_another_recipe_in_the_same_folder_is_refused(finished, recipe):
    other = recipe.model_copy(update={"seed": 2})
    before = (finished / "recipe.json").read_bytes()
    with pytest.raises(TrainingError, match="another recipe"):
        train(other, finished, cpu=True)
    assert (finished / "recipe.json").read_bytes() == before


def test_a_missing_corpus_is_named_before_anything_is_written(recipe, tmp_path):
    lost = recipe.model_copy(update={"valid": str(tmp_path / "nowhere")})
    with pytest.raises(CorpusError, match="nowhere"):
        train(lost, tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def test_corpora_of_two_tokenizers_are_refused(recipe, sample_file, tmp_path):
    pack([sample_file], train_tokenizer(["hello there"] * 50, vocab_size=400), tmp_path / "other")
    mixed = recipe.model_copy(update={"valid": str(tmp_path / "other")})
    with pytest.raises(TrainingError, match="different tokenizers"):
        train(mixed, tmp_path / "run", cpu=True)


@pytest.mark.parametrize(
    ("shape", "named"), [({"d_model": "big"}, "d_model"), ({"d_model": 33}, "d_model 33")]
)
def test_an_impossible_shape_is_named(recipe, tmp_path, shape, named):
    with pytest.raises(TrainingError, match=f"shape: .*{named}"):
        train(recipe.model_copy(update={"shape": recipe.shape | shape}), tmp_path / "run", cpu=True)


def test_a_model_to_start_from_that_is_not_there_is_named(recipe, tmp_path):
    lost = recipe.model_copy(update={"init_from": str(tmp_path / "gone")})
    with pytest.raises(TrainingError, match="gone"):
        train(lost, tmp_path / "run", cpu=True)


def test_a_loss_that_is_no_number_ends_the_run(recipe, tmp_path, monkeypatch):
    def broken(run):
        return STEP(run) * (math.nan if run.progress.step > 6 else 1.0)

    monkeypatch.setattr(trainer._Run, "_step", broken)
    with pytest.raises(TrainingError, match="loss is nan at step 8"):
        train(recipe, tmp_path / "run", cpu=True)
    assert step_of_checkpoint(tmp_path / "run") == 5
