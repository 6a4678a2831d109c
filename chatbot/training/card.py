"""Writes the model card: what the weights were made of, how, and how good they are.

Every number is read from the weights, the run folders and the packed corpora, or measured here.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.backbone import Backbone
from chatbot.console import progress
from chatbot.errors import TrainingError
from chatbot.prompt import MAX_TURNS, build_context
from chatbot.scoring import reply_log_likelihoods
from chatbot.training.batches import PackedCorpus
from chatbot.training.corpus import source_of
from chatbot.training.folders import replace_file
from chatbot.training.packing import tokenizer_digest
from chatbot.training.recipe import Recipe, read_recipe
from chatbot.training.samples import read_samples
from chatbot.training.tokenizer import load_tokenizer

REPLIES_PER_SOURCE = 500
"""Scored for the table at most, drawn with seed 0."""

LANGUAGES = {"en": "English", "ko": "Korean"}


def make_card(
    model_dir: str | Path, *, runs: Sequence[str | Path], valid: str | Path, samples: str | Path
) -> Path:
    """Writes `README.md` and `curves.svg` beside the weights; the card's path.

    Args:
        model_dir: folder written by `export`.
        runs: folders of the runs that led to the weights, in order.
        valid: packed validation corpus.
        samples: file written by `chatbot train samples`.

    Raises:
        TrainingError: a run has no metrics, or the corpus is not this model's validation corpus.
        ChatbotError: the model, the corpus or the samples cannot be read.
    """
    model_dir = Path(model_dir)
    backbone = Backbone.load(model_dir, device="auto", dtype="float32")
    histories = [read_history(Path(run)) for run in runs]
    dialogues = read_samples(Path(samples))
    packed = PackedCorpus(valid)
    _check_valid(packed, model_dir, Path(valid))
    scores = list(progress(score_sources(backbone, packed), "scoring", length=len(packed.sources)))
    corpora = _corpora(history.recipe for history in histories)
    text = "\n\n".join(
        [
            _header(corpora),
            _introduction(backbone, model_dir, corpora),
            _how_made(histories),
            _perplexities(scores),
            _sources(corpora),
            _limits(corpora),
            _samples(dialogues),
        ]
    )
    replace_file(model_dir / "curves.svg", draw_curves(histories))
    replace_file(model_dir / "README.md", (text + "\n").encode())
    return model_dir / "README.md"


# -- what the runs left


@dataclass(frozen=True, slots=True)
class History:
    """A run as its folder tells it.

    Attributes:
        losses: (n, 2) step, training loss in nats per piece, label smoothing included.
        valid: (n, 2) step, validation loss in nats per piece.
        tokens: reply pieces learnt from.
    """

    recipe: Recipe
    losses: np.ndarray
    valid: np.ndarray
    steps: int
    tokens: int
    seconds: float


def read_history(run: Path) -> History:
    """The history of a run folder.

    Raises:
        TrainingError: it has none.
    """
    recipe = read_recipe(run / "recipe.json")
    try:
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        last = rows[-1]
        return History(
            recipe=recipe,
            losses=_curve(rows, "loss"),
            valid=_curve(rows, "valid_nll"),
            steps=int(last["step"]),
            tokens=int(last["tokens"]),
            seconds=float(last["seconds"]),
        )
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{run / 'metrics.csv'} is no history of a run: {error!r}; give the folder of a run "
            "that has logged at least once"
        ) from error


def _curve(rows: list[dict[str, str]], column: str) -> np.ndarray:
    points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    return np.array(points, dtype=float).reshape(-1, 2)


def draw_curves(histories: Sequence[History]) -> bytes:
    """Training and validation loss over the steps of all runs, as SVG."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError(
            "the card's picture needs matplotlib; install the extra: "
            'pip install "meena-controllable-chatbot[train]"'
        ) from error
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    offset = 0
    for place, history in enumerate(histories):
        names = ("training", "validation") if place == 0 else (None, None)
        axes.plot(*_shifted(history.losses, offset), lw=0.8, color="0.65", label=names[0])
        axes.plot(*_shifted(history.valid, offset), color="tab:blue", marker=".", label=names[1])
        offset += history.steps
        if place + 1 < len(histories):
            axes.axvline(offset, color="0.8", lw=0.8)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("nats per piece")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    # Without salt and date the same curves would be other bytes each time.
    with matplotlib.rc_context({"svg.hashsalt": "curves"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _shifted(curve: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    return curve[:, 0] + offset, curve[:, 1]


# -- what is measured


def _check_valid(packed: PackedCorpus, model_dir: Path, folder: Path) -> None:
    if packed.meta["split"] != "valid":
        raise TrainingError(f"{folder} was packed for training; give one of `--split valid`")
    if packed.meta["tokenizer_sha256"] != tokenizer_digest(load_tokenizer(model_dir)):
        raise TrainingError(
            f"{folder} was packed with another tokenizer than that of {model_dir}; pack it anew"
        )


@dataclass(frozen=True, slots=True)
class SourceScore:
    """Sums over the validation replies of one source."""

    name: str
    lang: str
    replies: int
    pieces: int
    words: int
    nll: float

    @property
    def per_piece(self) -> float:
        return math.exp(self.nll / self.pieces)

    @property
    def per_word(self) -> float:
        return math.exp(self.nll / self.words)


def score_sources(
    backbone: Backbone, corpus: PackedCorpus, *, most: int = REPLIES_PER_SOURCE
) -> Iterator[SourceScore]:
    """Each source's validation replies scored in their context, the end of each counted.

    Args:
        most: replies of a source at most, drawn with seed 0.
    """
    examples: dict[str, list[int]] = {name: [] for name in corpus.sources}
    for index in np.random.default_rng(0).permutation(len(corpus)).tolist():
        examples[corpus.example(index)[2]].append(index)
    for name, lang in zip(corpus.sources, corpus.langs, strict=True):
        if examples[name]:
            yield _score_source(backbone, corpus, name, lang, examples[name][:most])


def _score_source(
    backbone: Backbone, corpus: PackedCorpus, name: str, lang: str, examples: list[int]
) -> SourceScore:
    max_tokens = backbone.model.config.max_context
    prompts, replies = [], []
    for index in examples:
        context, reply, _ = corpus.example(index)
        prompts.append(build_context(context, backbone.special, max_tokens=max_tokens).ids)
        replies.append([*reply, backbone.special.eos])
    log_probs = reply_log_likelihoods(backbone.model, prompts, replies)
    return SourceScore(
        name,
        lang,
        replies=len(replies),
        pieces=sum(map(len, replies)),
        words=sum(len(backbone.text(reply).split()) for reply in replies),
        nll=-sum(row.double().sum().item() for row in log_probs),
    )


def _together(name: str, scores: Sequence[SourceScore]) -> SourceScore:
    return SourceScore(
        name,
        scores[0].lang,
        *(sum(getattr(s, part) for s in scores) for part in ("replies", "pieces", "words", "nll")),
    )


# -- the sections


def _corpora(recipes: Iterable[Recipe]) -> dict[str, PackedCorpus]:
    """The corpora that were trained on by name of their folder, in order of use."""
    folders = [stage.corpus for recipe in recipes for stage in recipe.stages]
    return {Path(folder).name: PackedCorpus(folder) for folder in dict.fromkeys(folders)}


def _is_open(corpora: dict[str, PackedCorpus]) -> bool:
    return all(source_of(name).is_open for corpus in corpora.values() for name in corpus.sources)


def _header(corpora: dict[str, PackedCorpus]) -> str:
    languages = sorted({lang for corpus in corpora.values() for lang in corpus.langs})
    # With open sources alone the strictest are CC BY-SA.
    licence = "cc-by-sa-4.0" if _is_open(corpora) else "cc-by-nc-sa-4.0"
    return "\n".join(
        [
            "---",
            f"license: {licence}",
            "language:",
            *(f"- {language}" for language in languages),
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags:",
            "- dialogue",
            "- meena",
            "- evolved-transformer",
            "---",
        ]
    )


def _introduction(backbone: Backbone, model_dir: Path, corpora: dict[str, PackedCorpus]) -> str:
    config, model = backbone.model.config, backbone.model
    shape = (
        f"{config.encoder_layers} encoder + {config.decoder_layers} decoder blocks, "
        f"width {config.d_model}, {config.num_heads} heads"
    )
    size = sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))
    stored = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))["dtype"]
    langs = sorted({lang for corpus in corpora.values() for lang in corpus.langs})
    languages = " and ".join(LANGUAGES.get(lang, lang) for lang in langs)
    if _is_open(corpora):
        licence = "CC BY-SA 4.0, for some of the sources are share-alike"
    else:
        licence = (
            "CC BY-NC-SA 4.0: part of the data is for non-commercial use only, or states no "
            "licence; `chatbot train pack --licences open` leaves it out"
        )
    return f"""# A small Meena-style dialogue model

An Evolved Transformer (So et al. 2019) in the Meena arrangement (Adiwardana et al. 2020),
trained from random weights on {languages}. It reads up to {MAX_TURNS} turns of a conversation,
{config.max_context} pieces at most, and writes the next one.

| | |
|---|---|
| parameters | {model.num_parameters():,} |
| shape | {shape} |
| vocabulary | {config.vocab_size:,} pieces, byte fallback |
| weights | {stored}, {size / 1e6:.1f} MB |
| licence of the weights | {licence} |
| licence of the code | Apache-2.0 |

```python
from chatbot import Chatbot

bot = Chatbot.load()  # or Chatbot.load("this/folder")
print(bot.respond("Hi!").text)
```

## Intended use

Research on open-domain conversation and on steering it; demonstrations on one machine, offline.
Not for advice of any kind, not for people in need of help, and not as a source of facts."""


def _how_made(histories: Sequence[History]) -> str:
    parts = ["## How it was made", "![Loss over the steps](curves.svg)"]
    rows = ["| run | steps | reply pieces learnt from | hours | best validation loss |"]
    rows.append("|---|---:|---:|---:|---:|")
    for place, history in enumerate(histories, start=1):
        best = f"{history.valid[:, 1].min():.3f}" if len(history.valid) else "-"
        rows.append(
            f"| {place} | {history.steps:,} | {history.tokens:,} | {history.seconds / 3600:.1f} "
            f"| {best} |"
        )
    if len(histories) > 1:
        rows.append(
            f"| all | {sum(h.steps for h in histories):,} | {sum(h.tokens for h in histories):,} "
            f"| {sum(h.seconds for h in histories) / 3600:.1f} | |"
        )
    parts.append("\n".join(rows))
    parts.append("Losses are nats per piece; the validation loss is over a fixed part of the data.")
    for place, history in enumerate(histories, start=1):
        recipe = json.dumps(_shown(history.recipe), indent=1)
        parts.append(
            f"<details><summary>Recipe of run {place}</summary>\n\n```json\n{recipe}\n```\n\n"
            "</details>"
        )
    return "\n\n".join(parts)


def _shown(recipe: Recipe) -> dict[str, Any]:
    """The recipe with names in place of the paths of the machine it ran on."""
    values = recipe.model_dump()
    for stage in values["stages"]:
        stage["corpus"] = Path(stage["corpus"]).name
    values["valid"] = Path(values["valid"]).name
    if values["init_from"]:
        values["init_from"] = Path(values["init_from"]).name
    return values


def _perplexities(scores: Sequence[SourceScore]) -> str:
    rows = [
        "## Perplexity",
        "",
        "Validation replies after their context, as much of it as the model reads; the end of a",
        f"reply counts as a piece. At most {REPLIES_PER_SOURCE:,} replies a source, drawn with",
        "seed 0. The validation files were not trained on. Replies that the corpus filters leave",
        "out are left out here too. Lower is better; compare models per word.",
        "",
        "| source | language | per piece | per word | replies | pieces | words |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    sums = []
    for lang in sorted({score.lang for score in scores}):
        name = f"all {LANGUAGES.get(lang, lang)}"
        sums.append(_together(name, [score for score in scores if score.lang == lang]))
    for score in [*scores, *sums]:
        rows.append(
            f"| {score.name} | {score.lang} | {score.per_piece:.1f} | {score.per_word:.1f} "
            f"| {score.replies:,} | {score.pieces:,} | {score.words:,} |"
        )
    return "\n".join(rows)


def _sources(corpora: dict[str, PackedCorpus]) -> str:
    parts = [
        "## Data",
        "Weight is how many times a reply is learnt from in one pass over the corpus; replies are "
        "those that the filters keep.",
    ]
    for name, corpus in corpora.items():
        rows = [
            f"### {name}",
            "",
            "| source | language | licence | weight | dialogues | words | replies |",
            "|---|---|---|---:|---:|---:|---:|",
        ]
        for source in sorted(corpus.meta["sources"], key=lambda s: (s["lang"], -s["words"])):
            rows.append(
                f"| {source['name']} | {source['lang']} | {source_of(source['name']).licence} "
                f"| {source['weight']:g} | {source['dialogues']:,} | {source['words']:,} "
                f"| {source['examples']:,} |"
            )
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _limits(corpora: dict[str, PackedCorpus]) -> str:
    of_source: dict[tuple[str, str], int] = {}
    for corpus in corpora.values():
        of_source |= {(s["lang"], s["name"]): s["words"] for s in corpus.meta["sources"]}
    words = Counter[str]()
    for (lang, _), n in of_source.items():
        words[lang] += n
    told = ", ".join(f"{LANGUAGES.get(lang, lang)} {n:,}" for lang, n in sorted(words.items()))
    return f"""## Limits

- It is small and has read little (words: {told}; the
  published Meena had forty billion). It loses the thread, contradicts itself, and invents facts
  about itself and the world.
- Much of what it read is polite small talk of crowd workers, textbook dialogues, and the fiction
  of a century ago; it repeats their opinions and their prejudices. The corpora were cleaned of
  slurs, and no more than that.
- Its Korean rests on far less text than its English and is worse.
- It does not know the date, cannot look anything up and remembers nothing beyond the turns it
  reads."""


def _samples(dialogues: Sequence[Sequence[str]]) -> str:
    """The dialogues as indented text, in which no mark of the model's is read as markup."""
    parts = [
        "## Samples",
        f"{len(dialogues)} dialogues, unedited and not chosen: the first line is ours, then the "
        "model talks with itself, with the seeds of `chatbot train samples`.",
    ]
    for place, turns in enumerate(dialogues, start=1):
        lines = [f"    {'AB'[i % 2]}: {' '.join(turn.split())}" for i, turn in enumerate(turns)]
        parts.append(f"**{place}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)
