"""The commands below `chatbot ethics`: look at the filter, train it, see what its limits cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.console import quiet_libraries

if TYPE_CHECKING:
    from chatbot.training.ethics_scores import Score
    from chatbot.types import Verdict

app = typer.Typer(
    name="ethics", help="The filter that rejects unethical replies.", no_args_is_help=True
)

Data = Annotated[
    list[Path],
    typer.Option(help="Folder of labelled replies and of dialogues; may be given several times."),
]
Folder = Annotated[
    Path | None, typer.Option("--filter", help="Folder of a filter; the shipped one if left out.")
]
Encoder = Annotated[
    str | None,
    typer.Option(help="Text encoder, a folder or hub name; the default one if left out."),
]


@app.command()
def inspect(
    text: Annotated[list[str] | None, typer.Argument(help="Replies to judge.")] = None,
    context: Annotated[
        list[str],
        typer.Option(help="A turn before the reply; may be given several times, oldest first."),
    ] = [],  # noqa: B006  # typer copies it
    exemplars: Annotated[
        list[Path], typer.Option(help="Examples of your own, JSON lines of side, text, context.")
    ] = [],  # noqa: B006
    folder: Folder = None,
    encoder: Encoder = None,
) -> None:
    """Judge replies; without any, tell what the filter consists of."""
    from chatbot.embedding import Embedder
    from chatbot.ethics import EthicsFilter

    quiet_libraries()
    ethics = EthicsFilter.load(folder, Embedder.load(encoder))
    for file in exemplars:
        ethics = ethics.with_exemplars(file)
    if not text:
        typer.echo(_described(ethics.describe()))
        return
    for reply, verdict in zip(text, ethics.assess(context, text), strict=True):
        typer.echo(f"{reply}\n{_told(verdict)}")


def _told(verdict: "Verdict") -> str:
    word = "accepted" if verdict.accepted else f"rejected ({verdict.reason}, {verdict.category})"
    nearest = f"{verdict.similarity:.2f} {verdict.nearest}"
    return f"  risk {verdict.risk:.3f}  {word}\n  nearest: {nearest}"


def _described(facts: "dict[str, object]") -> str:
    return "\n".join(f"{name:12}{value}" for name, value in facts.items())


@app.command()
def train(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write, replaced whole. If left out: where bots with this encoder find "
            "it, controllable-chatbot/ethics in $XDG_DATA_HOME or ~/.local/share."
        ),
    ] = None,
    encoder: Encoder = None,
) -> None:
    """Train the filter on the folders and our examples; print what it does on validation rows.

    A filter fits one text encoder only.
    """
    from chatbot.embedding import Embedder
    from chatbot.ethics import own_filter
    from chatbot.ethics_probe import save_probe
    from chatbot.example_set import save_vectors
    from chatbot.exemplars import shipped_exemplars
    from chatbot.training import ethics as training
    from chatbot.training.ethics_rows import Lesson, read_rows
    from chatbot.training.folders import replace_folder

    quiet_libraries()
    lesson = Lesson()
    rows = read_rows(data, lesson)
    typer.echo(f"{len(rows):,} rows", err=True)
    embedder = Embedder.load(encoder)
    place = out or own_filter(embedder.identity["digest"])
    taught = training.train(rows, shipped_exemplars(), embedder, lesson)

    def fill(folder: Path) -> None:
        save_probe(taught.probe, folder)
        taught.readers.save(folder)
        save_vectors(taught.example_vectors, folder)

    replace_folder(place, fill)
    typer.echo(_table(taught.scores))
    typer.echo(f"thresholds {dict(taught.probe.config.threshold)}, see {place}")


@app.command()
def leave_out(
    source: Annotated[list[str], typer.Argument(help="Sources as `calibrate` names them.")],
    data: Data,
    encoder: Encoder = None,
    word_rows: Annotated[
        int, typer.Option(min=100, help="Rows of a source from which words are learned.")
    ] = 1_000,
) -> None:
    """Train without a source and print how its rows are judged then, for each source in turn.

    Tells what to expect of texts of another kind. A minute for each source: words are learned from
    fewer rows than in `train`, and there are no readers, which would take minutes more.
    """
    from chatbot.embedding import Embedder
    from chatbot.exemplars import shipped_exemplars
    from chatbot.training.ethics import left_out
    from chatbot.training.ethics_rows import Lesson, read_rows

    quiet_libraries()
    lesson = Lesson(
        word_rows=word_rows, dialogue_word_rows=word_rows // 4, reader=None, korean_reader=None
    )
    rows = read_rows(data, lesson)
    embedder = Embedder.load(encoder)
    for number, name in enumerate(source):
        table = _table(left_out(rows, name, shipped_exemplars(), embedder, lesson))
        typer.echo(table if number == 0 else table.partition("\n")[2])


@app.command()
def calibrate(data: Data, folder: Folder = None, encoder: Encoder = None) -> None:
    """Print what the filter does on validation rows, and what other thresholds would do."""
    import numpy as np

    from chatbot.embedding import Embedder
    from chatbot.ethics import EthicsFilter
    from chatbot.training.ethics import filter_verdicts
    from chatbot.training.ethics_rows import Lesson, read_rows
    from chatbot.training.ethics_scores import category_precision, score_rows, threshold_rows

    quiet_libraries()
    ethics = EthicsFilter.load(folder, Embedder.load(encoder))
    rows = [row for row in read_rows(data, Lesson()) if row.split != "train"]
    verdicts = filter_verdicts(ethics, rows)
    risks = np.array([verdict.risk for verdict in verdicts])
    typer.echo(_table(score_rows(rows, risks, ethics.probe.config.threshold)))
    typer.echo("\nlanguage  threshold  ordinary replies rejected  precision  recall")
    for row in threshold_rows(rows, risks, ethics.probe.config.threshold):
        mark = " *" if row.is_used else ""
        typer.echo(
            f"{row.language:8}{row.threshold:11.3f}{row.ordinary_rejected:27.2%}"
            f"{row.precision:11.1%}{row.recall:8.1%}{mark}"
        )
    typer.echo("* in use; precision and recall are those of labelled rows")
    typer.echo("\nrejected as      lang   rows  precision")
    for (category, language), (n, right) in category_precision(rows, verdicts).items():
        typer.echo(f"{category:16}{language:>5}{n:7}{right:11.1%}")


def _table(scores: "tuple[Score, ...] | list[Score]") -> str:
    """One line a source."""
    lines = [
        f"{'source':40}{'lang':>5}{'rows':>7}{'bad':>6}{'F1@0.5':>8}{'F1@cut':>8}{'rejected':>10}"
    ]
    for one in scores:
        both = [
            f"{f:8.3f}" if f is not None else f"{'-':>8}" for f in (one.macro_f1_half, one.macro_f1)
        ]
        lines.append(
            f"{one.source:40}{one.language:>5}{one.n:7}{one.n_unethical:6}{both[0]}{both[1]}"
            f"{one.rejected:10.1%}"
        )
    return "\n".join(lines)
