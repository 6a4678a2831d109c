"""Trains a Meena model by a recipe: stages over packed corpora, one schedule, exact resume.

A run is a folder: `recipe.json` as given, `metrics.csv`, `checkpoint/` (everything needed to go on
exactly, written whole or not at all) and `best/` (the model of the lowest validation loss).
Processes, devices and precision are `accelerate`'s business; what the batches hold is
`chatbot.training.batches`', what a recipe says `chatbot.training.recipe`'s, what a checkpoint
holds `chatbot.training.checkpoint`'s.
"""

import csv
import logging
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from chatbot.errors import TrainingError
from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.prompt import SPECIAL_IDS
from chatbot.training.batches import Batch, PackedCorpus
from chatbot.training.checkpoint import (
    Progress,
    cannot_write,
    cut_metrics,
    load_checkpoint,
    save_checkpoint,
    write_folder,
)
from chatbot.training.folders import settle_folder
from chatbot.training.recipe import Recipe, read_recipe

logger = logging.getLogger(__name__)


def train(recipe: Recipe, out: str | Path, *, cpu: bool = False) -> Progress:
    """Runs the recipe in folder `out`, going on from its last checkpoint if there is one.

    Ctrl-C or SIGTERM ends the run after the current step, checkpoint written.

    Raises:
        TrainingError: the folder belongs to another recipe or cannot be written, the corpora do
            not fit together, or the loss is no number any more.
        CorpusError: a packed corpus is missing.
    """
    run = _Run(
        recipe,
        Path(out),
        Accelerator(
            cpu=cpu, mixed_precision=recipe.precision, gradient_accumulation_steps=recipe.accumulate
        ),
    )
    with _stop_requests() as stop:
        run.go(stop)
    return run.progress


class _Run:
    """A run in memory: model, optimizers, corpora and where it stands."""

    def __init__(self, recipe: Recipe, out: Path, accelerator: Accelerator) -> None:
        self.recipe, self.out, self.accelerator = recipe, out, accelerator
        self.progress = Progress()
        self.corpora = [PackedCorpus(stage.corpus, stage.weights) for stage in recipe.stages]
        self.valid = PackedCorpus(recipe.valid)
        _check_one_tokenizer([*self.corpora, self.valid])
        with accelerator.main_process_first():
            _claim_folder(recipe, out)
        torch.manual_seed(recipe.seed)
        model = _make_model(recipe)
        optimizers = make_optimizers(model, recipe)
        self.goes_alone = recipe.average_every > 1 and accelerator.num_processes > 1
        prepared = accelerator.prepare(*optimizers, *([] if self.goes_alone else [model]))
        prepared = list(prepared) if isinstance(prepared, tuple) else [prepared]
        self.model = model.to(accelerator.device) if self.goes_alone else prepared.pop()
        self.optimizers = prepared
        self.plain = accelerator.unwrap_model(self.model)
        self.plain_optimizers = [prepared.optimizer for prepared in self.optimizers]
        if (out / "checkpoint").exists():
            self._go_on()
        self._stream = self._batches()

    # -- the loop

    def go(self, stop: "_Stop") -> None:
        """All remaining steps."""
        recipe, done = self.recipe, self.progress
        self.model.train()
        losses = [torch.tensor(loss, device=self.accelerator.device) for loss in done.losses]
        clock = time.monotonic()
        is_stopping = False
        while done.step < recipe.total_steps and not is_stopping:
            losses.append(self._step())
            done.seconds += time.monotonic() - clock
            clock = time.monotonic()
            if done.step % recipe.log_every == 0:
                self._log(torch.stack(losses).mean().item())
                losses.clear()
            is_last = done.step == recipe.total_steps
            if self.goes_alone:
                if done.step % recipe.average_every:
                    continue
                self._average()
            is_stopping = self._is_agreed(stop.asked)
            if done.step % recipe.eval_every == 0 or is_last:
                self._evaluate()
            if done.step % recipe.checkpoint_every == 0 or is_last or is_stopping:
                done.losses = [loss.item() for loss in losses]
                self._save()

    @torch.no_grad()
    def _average(self) -> None:
        """Gives all processes the mean of their weights and of their optimizers' states."""
        states = [
            value
            for optimizer in self.plain_optimizers
            for values in optimizer.state.values()
            for value in values.values()
            if isinstance(value, Tensor) and value.ndim
        ]
        for one in [*self.plain.parameters(), *states]:
            one.copy_(self.accelerator.reduce(one, reduction="mean"))

    def _is_agreed(self, is_asked: bool) -> bool:
        """Whether any process was asked to stop: all end after the same step or none can."""
        if self.accelerator.num_processes == 1:
            return is_asked
        asked = torch.tensor(float(is_asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum").item())

    def _step(self) -> Tensor:
        """One optimizer step; the mean loss of its batches."""
        rate = self.recipe.rate(self.progress.step)
        losses = []
        for batch in self._next_batches():
            with self.accelerator.accumulate(self.model):
                loss = self._loss(batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.plain.parameters(), self.recipe.clip)
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    optimizer.step()
                    optimizer.zero_grad()
            losses.append(loss.detach())
        self.progress.step += 1
        self.progress.stage_step += 1
        return torch.stack(losses).mean()

    def _loss(self, batch: Batch) -> Tensor:
        on = self.accelerator.device
        with self.accelerator.autocast():
            return self.model(
                input_ids=torch.from_numpy(batch.input_ids).to(on),
                attention_mask=torch.from_numpy(batch.attention_mask).to(on),
                decoder_input_ids=torch.from_numpy(batch.decoder_input_ids).to(on),
                labels=torch.from_numpy(batch.labels).to(on),
                use_cache=False,
                return_logits=False,
            ).loss

    def _next_batches(self) -> list[Batch]:
        """This process's batches of the next step; moves on to the next stage when one is done."""
        done = self.progress
        if done.stage_step == self.recipe.stages[done.stage].steps:
            # The epoch goes on, so that a stage over the same corpus does not draw the same sample.
            done.stage, done.stage_step = done.stage + 1, 0
            done.epoch, done.batch = done.epoch + 1, 0
            self._stream = self._batches()
        return list(islice(self._stream, self.recipe.accumulate))

    def _batches(self) -> Iterator[Batch]:
        """Endless batches of the current stage from where it stands, this process's share."""
        done, stage = self.progress, self.recipe.stages[self.progress.stage]
        corpus = self.corpora[done.stage]
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        while True:
            batches = corpus.batches(
                seed=self.recipe.seed,
                epoch=done.epoch,
                start=done.batch,
                tokens_per_batch=self.recipe.tokens_per_batch,
                max_turns=stage.max_turns,
                max_tokens=stage.max_tokens,
                infill=stage.infill,
                drop_context=stage.drop_context,
            )
            while len(share := list(islice(batches, world))) == world:
                done.batch += world
                done.tokens += sum(int((batch.labels >= 0).sum()) for batch in share)
                yield share[rank]
            if done.batch == 0:
                raise TrainingError(
                    f"an epoch of {stage.corpus} has fewer batches than there are processes "
                    f"({world}); pack more files, or lower tokens_per_batch"
                )
            done.epoch, done.batch = done.epoch + 1, 0

    # -- what a run leaves behind

    def _log(self, loss: float) -> None:
        done, recipe = self.progress, self.recipe
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {done.step}; the last checkpoint is kept, "
                "start another run with a lower learning_rate"
            )
        per_step = done.seconds / done.step
        left = (recipe.total_steps - done.step) * per_step
        self._write_metrics(loss=round(loss, 4))
        logger.info(
            "step %d/%d stage %d epoch %d loss %.3f lr %.2e %.0f reply tokens/s, %s left",
            done.step,
            recipe.total_steps,
            done.stage,
            done.epoch,
            loss,
            recipe.rate(done.step - 1),
            done.tokens / done.seconds,
            time.strftime("%H:%M:%S", time.gmtime(left)),
        )

    def _evaluate(self) -> None:
        done = self.progress
        nll, n_tokens = validation_loss(
            self.plain, self.valid, self.recipe, device=self.accelerator.device
        )
        self.model.train()
        self._write_metrics(valid_nll=round(nll, 4))
        logger.info(
            "step %d valid nll %.4f, perplexity %.2f per piece (n=%d pieces)%s",
            done.step,
            nll,
            math.exp(nll),
            n_tokens,
            " *best*" if nll < done.best else "",
        )
        if nll < done.best:
            done.best = nll
            if self.accelerator.is_main_process:
                write_folder(self.out / "best", self.plain.save_pretrained)

    def _write_metrics(self, **values: float) -> None:
        if not self.accelerator.is_main_process:
            return
        done, path = self.progress, self.out / "metrics.csv"
        row = {
            "step": done.step,
            "stage": done.stage,
            "lr": self.recipe.rate(done.step - 1),
            "tokens": done.tokens,
            "seconds": round(done.seconds, 1),
            "loss": "",
            "valid_nll": "",
        } | values
        try:
            is_new = not path.exists() or path.stat().st_size == 0
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise cannot_write(path, error) from error

    def _save(self) -> None:
        save_checkpoint(
            self.out / "checkpoint",
            self.progress,
            model=self.plain,
            optimizers=self.plain_optimizers,
            accelerator=self.accelerator,
        )

    def _go_on(self) -> None:
        """Brings everything to where the last checkpoint left it."""
        self.progress = load_checkpoint(
            self.out / "checkpoint",
            model=self.plain,
            optimizers=self.plain_optimizers,
            accelerator=self.accelerator,
        )
        if self.accelerator.is_main_process:
            cut_metrics(self.out / "metrics.csv", self.progress.step)
        logger.info("going on from step %d of %d", self.progress.step, self.recipe.total_steps)


def make_optimizers(
    model: MeenaForConditionalGeneration, recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for the rest."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "blocks" in name and "depthwise" not in name
        if recipe.optimizer == "muon" and is_matrix:
            matrices.append(parameter)
        else:
            (rest if parameter.ndim == 2 else plain).append(parameter)
    groups = [
        {"params": rest, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


@torch.no_grad()
def validation_loss(
    model: MeenaForConditionalGeneration,
    corpus: PackedCorpus,
    recipe: Recipe,
    *,
    device: torch.device,
) -> tuple[float, int]:
    """Mean negative log-likelihood per piece, in nats, and the number of pieces.

    The first `eval_batches` batches of a fixed shuffle, with the full context window.
    """
    model.eval()
    total, n_tokens = 0.0, 0
    batches = corpus.batches(seed=0, epoch=0, tokens_per_batch=recipe.tokens_per_batch)
    for batch in islice(batches, recipe.eval_batches):
        labels = torch.from_numpy(batch.labels).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = model(
                input_ids=torch.from_numpy(batch.input_ids).to(device),
                attention_mask=torch.from_numpy(batch.attention_mask).to(device),
                labels=labels,
                use_cache=False,
                return_logits=False,
            ).loss
        n = int((labels >= 0).sum())
        total, n_tokens = total + loss.item() * n, n_tokens + n
    return total / n_tokens, n_tokens


def _make_model(recipe: Recipe) -> MeenaForConditionalGeneration:
    if recipe.init_from:
        # Checked here: the loader takes a folder that is not there for a name on a hub.
        if not (Path(recipe.init_from) / "config.json").is_file():
            raise TrainingError(
                f"init_from: no model in {recipe.init_from}; give a folder with config.json and "
                "model.safetensors, such as the `best` of another run"
            )
        return MeenaForConditionalGeneration.from_pretrained(
            recipe.init_from, dtype=torch.float32, **recipe.shape
        )
    try:
        config = MeenaConfig(
            pad_token_id=SPECIAL_IDS.pad,
            bos_token_id=SPECIAL_IDS.bos,
            eos_token_id=SPECIAL_IDS.eos,
            decoder_start_token_id=SPECIAL_IDS.bos,
            **recipe.shape,
        )
    except (StrictDataclassError, ValueError) as error:
        raise TrainingError(f"shape: {error}") from error
    return MeenaForConditionalGeneration(config)


def _check_one_tokenizer(corpora: Sequence[PackedCorpus]) -> None:
    digests = {str(corpus.meta["tokenizer_sha256"])[:12] for corpus in corpora}
    if len(digests) > 1:
        raise TrainingError(
            f"the corpora were packed with different tokenizers ({', '.join(sorted(digests))}); "
            "pack all of them, the validation corpus too, with one"
        )


def _claim_folder(recipe: Recipe, out: Path) -> None:
    """Writes the recipe into the run's folder, or checks that it is the one already there."""
    path = out / "recipe.json"
    try:
        if not path.exists():
            out.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name("recipe.json.new")
            fresh.write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
            fresh.replace(path)
        for name in ("checkpoint", "best"):
            settle_folder(out / name)
    except OSError as error:
        raise cannot_write(out, error) from error
    if read_recipe(path) != recipe:
        raise TrainingError(
            f"{out} holds a run of another recipe ({path}); "
            "give another --out, or the recipe that the run was started with"
        )


@dataclass(slots=True)
class _Stop:
    asked: bool = False


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Turns SIGINT and SIGTERM into a request that the loop reads after each step."""
    stop = _Stop()

    def ask(*_: object) -> None:
        stop.asked = True

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)
