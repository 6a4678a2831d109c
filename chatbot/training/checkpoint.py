"""Writes a checkpoint, whole or not at all, and brings a run back to it exactly.

A checkpoint is a folder: the weights, `optimizer.safetensors` (states of the optimizers and of the
random generators) and `state.json` (where the run stands, and the optimizers' plain values). How
the steps between two checkpoints are taken, this module does not know.
"""

import csv
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatbot.errors import ChatbotError, TrainingError
from chatbot.meena import MeenaForConditionalGeneration
from chatbot.training.folders import replace_folder

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0  # optimizer steps done
    stage: int = 0
    stage_step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch already used, by all processes together
    tokens: int = 0  # reply pieces learnt from
    seconds: float = 0.0
    best: float = math.inf
    losses: list[float] = field(default_factory=list)  # of the steps after the last logged row


def save_checkpoint(
    folder: Path,
    progress: Progress,
    *,
    model: MeenaForConditionalGeneration,
    optimizers: Sequence[torch.optim.Optimizer],
    accelerator: Accelerator,
) -> None:
    """Puts a checkpoint in the place of `folder`; every process calls it, the first one writes.

    Raises:
        TrainingError: the disk is full or not writable; what was there before stays.
    """
    random_states = _random_states(accelerator)
    if not accelerator.is_main_process:
        return
    tensors, plain = _pack_optimizers(optimizers)
    tensors |= random_states

    def write(fresh: Path) -> None:
        model.save_pretrained(fresh)
        save_file(tensors, fresh / "optimizer.safetensors")
        state = {"progress": asdict(progress), "optimizer": plain}
        (fresh / "state.json").write_text(json.dumps(state), encoding="utf-8")

    write_folder(folder, write)


def load_checkpoint(
    folder: Path,
    *,
    model: MeenaForConditionalGeneration,
    optimizers: Sequence[torch.optim.Optimizer],
    accelerator: Accelerator,
) -> Progress:
    """Where the run stands; the states of model, optimizers and chance are set."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    model.load_state_dict(
        MeenaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()
    )
    tensors = load_file(folder / "optimizer.safetensors")
    _restore_random_states(tensors, accelerator)
    _unpack_optimizers(optimizers, tensors, state["optimizer"])
    return Progress(**state["progress"])


def _random_states(accelerator: Accelerator) -> dict[str, Tensor]:
    """By device, those of all processes, one behind the other."""

    def of_all(state: Tensor) -> Tensor:
        return accelerator.gather(state.to(accelerator.device)).cpu()

    states = {"rng": of_all(torch.get_rng_state())}
    if torch.cuda.is_available():
        states["rng_cuda"] = of_all(torch.cuda.get_rng_state())
    return states


def _restore_random_states(tensors: dict[str, Tensor], accelerator: Accelerator) -> None:
    """Sets this process's part of `_random_states`, which it takes out of `tensors`."""
    torch.set_rng_state(_own(tensors.pop("rng"), torch.get_rng_state(), accelerator))
    if (rng := tensors.pop("rng_cuda", None)) is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_own(rng, torch.cuda.get_rng_state(), accelerator))


def _own(states: Tensor, like: Tensor, accelerator: Accelerator) -> Tensor:
    """This process's random state, of those of all."""
    n_states, world = len(states) // len(like), accelerator.num_processes
    if n_states != world:
        logger.warning(
            "the run was left by %d processes and goes on with %d: it will not be exactly the "
            "run that it would have been",
            n_states,
            world,
        )
    # Cloned: torch reads a state from the start of its storage, whatever the view.
    return states.view(n_states, -1)[accelerator.process_index % n_states].clone()


def _pack_optimizers(
    optimizers: Sequence[torch.optim.Optimizer],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of the optimizers as named tensors and plain values, without pickle."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for i, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                name = f"{i}.{index}.{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value.contiguous()
                else:
                    plain[name] = value
    return tensors, plain


def _unpack_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor], plain: dict[str, Any]
) -> None:
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for name, value in (tensors | plain).items():
            owner, index, key = name.split(".")
            if int(owner) == i:
                state.setdefault(int(index), {})[key] = value
        whole = optimizer.state_dict()
        optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def cut_metrics(path: Path, step: int) -> None:
    """Drops the rows written after the checkpoint that the run goes on from."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= step]
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *kept])
    fresh.replace(path)


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill(folder)` fill a fresh folder, then puts it in the place of `target`.

    Raises:
        TrainingError: the disk is full or not writable; what was there before stays.
    """
    try:
        replace_folder(target, fill)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise cannot_write(target, error) from error
    except ChatbotError as error:
        raise TrainingError(str(error)) from error


def cannot_write(path: Path, error: Exception) -> TrainingError:
    """The error that tells that `path` could not be written, and how to go on."""
    reason = getattr(error, "strerror", None) or error
    return TrainingError(
        f"cannot write {path}: {reason}; the last checkpoint is kept. "
        "Make room, then run the same command: it goes on from there"
    )
