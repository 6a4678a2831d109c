"""The commands below `chatbot train`, from dialogue files to a folder that can be shipped."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from chatbot.console import progress, quiet_libraries
from chatbot.errors import TrainingError

if TYPE_CHECKING:
    from chatbot.training.packing import PackReport
    from chatbot.training.recipe import Recipe

app = typer.Typer(name="train", help="Make a generator out of dialogues.", no_args_is_help=True)

RECIPES = Path(__file__).with_name("recipes")

WORDS_PER_SOURCE = 1_000_000
"""Of each source for the tokenizer, so that no large one decides what the pieces are."""

Data = Annotated[
    list[Path],
    typer.Option(help="Folder of *.jsonl or *.jsonl.xz files; may be given several times."),
]
Dtype = Literal["bf16", "fp16", "fp32"]
Tokenizer = Annotated[Path, typer.Option(help="Folder written by `chatbot train tokenizer`.")]


@app.command()
def tokenizer(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write, replaced whole.")],
    vocab_size: Annotated[int, typer.Option(help="Pieces in all.", min=400, max=65_536)] = 8192,
) -> None:
    """Train the tokenizer on the training files of the folders."""
    from chatbot.training.corpus import corpus_files, sample_turns
    from chatbot.training.folders import replace_folder
    from chatbot.training.tokenizer import train_tokenizer

    files = [path for folder in data for path in corpus_files(folder, split="train")]
    turns = sample_turns(progress(files, "reading"), max_words=WORDS_PER_SOURCE)
    trained = train_tokenizer(turns, vocab_size=vocab_size)
    replace_folder(out, trained.save_pretrained)
    typer.echo(f"{len(trained)} pieces, see {out}")


@app.command()
def pack(
    data: Data,
    tokenizer: Tokenizer,
    out: Annotated[Path, typer.Option(help="Folder to write, replaced whole.")],
    stage: Annotated[
        Literal["chat", "pretext"],
        typer.Option(help="chat: dialogues; pretext: running text and book dialogues."),
    ] = "chat",
    split: Annotated[
        Literal["train", "valid"], typer.Option(help="Which files of the folders.")
    ] = "train",
    licences: Annotated[
        Literal["all", "open"], typer.Option(help="open leaves out non-commercial sources.")
    ] = "all",
) -> None:
    """Encode dialogue files into the arrays that training reads."""
    _log_to_stderr()
    from chatbot.training.corpus import corpus_files
    from chatbot.training.packing import pack as pack_files
    from chatbot.training.tokenizer import load_tokenizer

    files = [path for folder in data for path in corpus_files(folder, split=split)]
    report = pack_files(
        files, load_tokenizer(tokenizer), out, stage=stage, licences=licences, split=split
    )
    typer.echo(_table(report))


def _table(report: "PackReport") -> str:
    """One line a source, then the sums."""
    lines = [f"{'source':24}{'weight':>8}{'dialogues':>11}{'words':>12}{'replies':>10}  filtered"]
    for name, source in report.sources.items():
        filtered = ", ".join(f"{reason} {n}" for reason, n in sorted(source.filtered.items()))
        lines.append(
            f"{name:24}{source.weight:8}{source.dialogues:11,}{source.words:12,}"
            f"{source.examples:10,}  {filtered}"
        )
    for name, n in report.left_out.items():
        lines.append(f"{name:24}left out, {n:,} dialogues")
    return "\n".join([*lines, f"{report.n_examples:,} replies, {report.n_pieces:,} pieces"])


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that exists is gone on with.")],
    data: Annotated[
        Path, typer.Option(help="Folder that the paths inside the recipe start from.")
    ] = Path(),
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave GPUs alone.")] = False,
) -> None:
    """Train by a recipe. Ctrl-C ends the run after the current step, with a checkpoint.

    Shipped recipes: cpu, gpu, meena-2.6b.
    """
    _log_to_stderr()
    from chatbot.training.recipe import read_recipe
    from chatbot.training.trainer import train

    quiet_libraries()
    train(_with_paths_from(data, read_recipe(_recipe_path(recipe))), out, cpu=cpu)


def _recipe_path(name: str) -> Path:
    """The file of that name, or the shipped recipe."""
    if Path(name).is_file():
        return Path(name)
    shipped = RECIPES / f"{name}.json"
    if not shipped.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.json")))
        raise TrainingError(f"no recipe file {name}, and none shipped of that name; known: {known}")
    return shipped


def _with_paths_from(folder: Path, recipe: "Recipe") -> "Recipe":
    """The recipe with its relative paths starting from `folder`."""
    return recipe.model_copy(
        update={
            "stages": [
                stage.model_copy(update={"corpus": str(folder / stage.corpus)})
                for stage in recipe.stages
            ],
            "valid": str(folder / recipe.valid),
            "init_from": recipe.init_from and str(folder / recipe.init_from),
        }
    )


def _log_to_stderr() -> None:
    """Shows the run's progress; of several processes, the first one's."""
    is_first = os.environ.get("RANK", "0") == "0"  # set by `accelerate launch`
    logging.basicConfig(
        level=logging.INFO if is_first else logging.WARNING,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Folder of `chatbot train run`.")],
    tokenizer: Tokenizer,
    out: Annotated[Path, typer.Option(help="Folder to write, replaced whole.")],
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = "bf16",
) -> None:
    """Write the run's best weights with the tokenizer, ready for `Chatbot.load(OUT)`."""
    from chatbot.training.export import export as export_run

    quiet_libraries()
    export_run(run, tokenizer, out, dtype=dtype)
    for file in sorted(out.iterdir()):
        typer.echo(f"{file.stat().st_size:12,}  {file.name}")


@app.command()
def samples(
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    model: Annotated[
        str | None, typer.Option(help="Folder of a generator; the shipped one if left out.")
    ] = None,
) -> None:
    """Let the bot talk with itself: twenty dialogues of ten turns, fixed openings and seeds."""
    from chatbot.bot import Chatbot
    from chatbot.training.samples import OPENINGS, self_chats, write_samples

    quiet_libraries()
    dialogues = self_chats(Chatbot.load(model, guarded=False))
    write_samples(progress(dialogues, "talking", length=len(OPENINGS)), out)


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="Folder written by `chatbot train export`.")],
    run: Annotated[list[Path], typer.Option(help="Folder of a run; all that led to it, in order.")],
    valid: Annotated[Path, typer.Option(help="Packed validation corpus.")],
    samples: Annotated[Path, typer.Option(help="File written by `chatbot train samples`.")],
) -> None:
    """Write the model card: README.md and curves.svg beside the weights."""
    from chatbot.training.card import make_card

    quiet_libraries()
    typer.echo(str(make_card(model, runs=run, valid=valid, samples=samples)))


@app.command("korean-encoder")
def korean_encoder(
    pairs: Annotated[Path, typer.Option(help='Lines of {"en": ..., "ko": ..., "split": ...}.')],
    out: Annotated[Path, typer.Option(help="Folder to write, replaced whole.")],
    labelled: Annotated[
        list[Path], typer.Option(help='Lines of {"text": ..., "label": ..., "split": ...}.')
    ] = [],  # noqa: B006  # typer copies it
) -> None:
    """Teach the Korean text encoder the vector space of the English one."""
    from chatbot.embedding import Embedder
    from chatbot.training import korean_encoder as lessons
    from chatbot.training.folders import replace_folder

    quiet_libraries()
    pairs_of = lessons.read_pairs(pairs)
    sets = {file.name: lessons.read_labelled(file) for file in labelled}
    teacher = Embedder.load_english()
    korean, english = zip(*pairs_of["train"], strict=True)
    vectors = teacher.encode(english)
    with typer.progressbar(length=100, label="teaching", file=sys.stderr) as bar:
        student = lessons.train(
            korean,
            vectors,
            sets,
            watch=lambda step, steps, _: bar.update(step * 100 // steps - bar.pos),
        )
    replace_folder(out, student.save)
    kept = pairs_of["valid"][:1_000]
    right, cosine = lessons.retrieval(student, kept, teacher.encode([en for _, en in kept]))
    typer.echo(
        f"of {len(kept)} Korean sentences {right:.1%} find their translation, mean cosine "
        f"{cosine:.3f}; see {out}"
    )


@app.command()
def coherence(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write, replaced whole.")],
    model: Annotated[
        str | None, typer.Option(help="Folder of a generator; the shipped one if left out.")
    ] = None,
) -> None:
    """Train what tells which candidate answers best, on dialogues and replies of the generator."""
    _log_to_stderr()
    from chatbot.backbone import Backbone
    from chatbot.embedding import Embedder
    from chatbot.training import coherence as lessons
    from chatbot.training.folders import replace_folder

    quiet_libraries()
    fragments = lessons.read_both(data)
    rivals = lessons.draw_rivals(Backbone.load(model), fragments["valid"])
    network, card = lessons.train(fragments, rivals, Embedder.load())
    replace_folder(out, lambda folder: network.save(folder, card))
    for language, told in card["valid"].items():
        typer.echo(f"{language}  " + ", ".join(f"{name} {value}" for name, value in told.items()))
    typer.echo(f"see {out}")
