"""Makes a folder that can be shipped out of the best weights of a run."""

from pathlib import Path

import torch
from transformers import GenerationConfig

from chatbot.errors import CorpusError, ModelError, TrainingError
from chatbot.meena import MeenaForConditionalGeneration
from chatbot.training.batches import PackedCorpus
from chatbot.training.folders import replace_folder
from chatbot.training.packing import tokenizer_digest
from chatbot.training.recipe import read_recipe
from chatbot.training.tokenizer import load_tokenizer
from chatbot.types import Sampling

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

MAX_FILE_SIZE = "48MB"
"""Of a weight file, header apart: common hosts of repositories warn at 50 MB. A single matrix
that is larger gets a file of its own."""


def export(
    run: str | Path, tokenizer_dir: str | Path, out: str | Path, *, dtype: str = "bf16"
) -> Path:
    """Writes `config.json`, `generation_config.json`, `*.safetensors` and the tokenizer to `out`.

    Args:
        run: folder of `chatbot train run`; its `best/` is taken.
        tokenizer_dir: the tokenizer that the run's corpora were packed with.
        out: replaced whole, or left as it was.
        dtype: of the weights written, a key of `DTYPES`.

    Raises:
        TrainingError: the run has no best weights, or another tokenizer.
        ChatbotError: the tokenizer cannot be read, or `out` not written.
    """
    run = Path(run)
    if dtype not in DTYPES:
        raise TrainingError(f"dtype {dtype!r} is not known; give one of {', '.join(DTYPES)}")
    tokenizer = load_tokenizer(tokenizer_dir)
    recipe = read_recipe(run / "recipe.json")
    _check_tokenizer(recipe.stages[-1].corpus, tokenizer_digest(tokenizer))
    model = _load_best(run, DTYPES[dtype])
    if model.config.vocab_size != len(tokenizer):
        raise TrainingError(
            f"the model of {run} has {model.config.vocab_size} pieces, the tokenizer of "
            f"{tokenizer_dir} {len(tokenizer)}; give the one that the corpora were packed with"
        )
    model.config.max_context = max(stage.max_tokens for stage in recipe.stages)
    model.generation_config = _generation_config(model)

    def fill(folder: Path) -> None:
        model.save_pretrained(folder, max_shard_size=MAX_FILE_SIZE)
        tokenizer.save_pretrained(folder)

    replace_folder(Path(out), fill)
    return Path(out)


def _load_best(run: Path, dtype: torch.dtype) -> MeenaForConditionalGeneration:
    """The model of the run's lowest validation loss."""
    best = run / "best"
    if not (best / "config.json").is_file():
        raise TrainingError(
            f"{best} holds no model; give the folder of a run that has been validated at least "
            "once (`eval_every` steps)"
        )
    try:
        return MeenaForConditionalGeneration.from_pretrained(best, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model in {best}: {error}") from error


def _check_tokenizer(folder: str, digest: str) -> None:
    """Refuses a tokenizer other than the one that the corpus in `folder` was packed with."""
    try:
        packed_with = PackedCorpus(folder).meta["tokenizer_sha256"]
    except CorpusError:
        return  # weights are often exported where the corpora are not
    if packed_with != digest:
        raise TrainingError(
            f"the run's corpus {folder} was packed with another tokenizer; give that one"
        )


def _generation_config(model: MeenaForConditionalGeneration) -> GenerationConfig:
    """What `model.generate` does unasked: one draw as the bot draws its candidates."""
    config, sampling = model.config, Sampling()
    return GenerationConfig(
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        max_new_tokens=sampling.max_new_tokens,
    )
