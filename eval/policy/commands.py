"""`chatbot eval policy`, and `chatbot eval judge unsafe`, which trains one of its judges."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.cli import Device, Model
from chatbot.console import progress, quiet_libraries
from chatbot.errors import InputError
from chatbot.types import Sampling

if TYPE_CHECKING:
    from eval.policy.replies import Case, Settings
    from eval.policy.report import Told

PROVOKING = Path(__file__).parents[1] / "contexts" / "provoking.jsonl"
SENSITIVE = Path(__file__).with_name("sensitive.jsonl")
LOOKALIKES = Path(__file__).with_name("lookalikes.jsonl")


def policy(
    out: Annotated[Path, typer.Option(help="Folder for replies and report.")],
    contexts: Annotated[
        list[Path],
        typer.Option(help='Lines of {"context", "category"?, "victim"?}; our own if left out.'),
    ] = [],  # noqa: B006  # typer copies it
    n: Annotated[
        int | None, typer.Option(min=1, help="Contexts of each file, evenly spaced; else all.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the report here.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Exchanges shown in the report.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Line k is answered with this + k.")] = 0,
    candidates: Annotated[
        int, typer.Option(help="Replies drawn, of which the best is given.")
    ] = Sampling().candidates,
    report_only: Annotated[
        bool, typer.Option(help="Draw nothing: make the report of --out again.")
    ] = False,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Answer sensitive contexts with and without topic rules and ethics filter, and compare.

    Four arms under the same seeds: neither, the rules, the filter, both. Writes a file of replies
    for each file of contexts, report.md and report.json to the folder of --out. A run cut off
    goes on with the replies that are there.
    """
    from eval.policy.replies import Settings
    from eval.policy.report import as_json, as_markdown, summary

    quiet_libraries()
    files = [*(contexts or (PROVOKING, SENSITIVE)), LOOKALIKES]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise InputError(f"the files of contexts are {', '.join(names)}; give each its own name")
    settings = Settings(seed, candidates)
    if report_only:
        drawn = [_read(out / name) for name in names]
    else:
        drawn = _draw(files, n, out, settings, model, device)
    told = _judged(drawn, settings)
    text = json.dumps(as_json(told), ensure_ascii=False, indent=1)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    for path in filter(None, (out / "report.md", report)):
        path.write_text(as_markdown(told, examples), encoding="utf-8")
    typer.echo(f"{summary(told)}\nsee {out / 'report.md'}")


def _draw(
    files: Sequence[Path],
    n: int | None,
    out: Path,
    settings: "Settings",
    model: str | None,
    device: str,
) -> list[list["Case"]]:
    """The cases of each file; what is missing in `out` is drawn."""
    from chatbot.bot import Chatbot
    from eval.policy.replies import draw_file, read_contexts

    lines = [read_contexts(file, n) for file in files]
    bot = Chatbot.load(model, device=device)
    out.mkdir(parents=True, exist_ok=True)
    return [
        draw_file(bot, held, out / file.name, settings, watch=partial(progress, label=file.name))
        for file, held in zip(files, lines, strict=True)
    ]


def _read(path: Path) -> list["Case"]:
    """The cases of a file that an earlier run wrote."""
    from eval.jsonl import read_lines
    from eval.policy.replies import case_of, check_drawn

    return [case_of(line.record) for line in read_lines(path, check_drawn)]


def _judged(drawn: Sequence[Sequence["Case"]], settings: "Settings") -> "Told":
    """What the judges say; the last cases are of look-alikes."""
    from chatbot.embedding import Embedder
    from eval.judges import Jury
    from eval.policy.labelled import readings
    from eval.policy.measures import measure
    from eval.policy.report import Told
    from eval.policy.unsafe import WordsJudge
    from eval.ssa.scoring import load_scorer

    *sensitive, lookalikes = drawn
    cases = [case for held in sensitive for case in held]
    words = WordsJudge.load()
    measures = measure(cases, Jury.load(Embedder.load_english()), words, load_scorer())
    return Told(cases[0].model, settings, measures, lookalikes, words, readings())


def unsafe(
    data: Annotated[
        list[Path],
        typer.Argument(help='Lines of {"text", "label": ethical or unethical, "source", "split"}.'),
    ],
    ordinary: Annotated[
        list[Path], typer.Option(help='Dialogues that count as harmless, {"turns": [...]} a line.')
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the judge; where the shipped one lies.")
    ] = None,
) -> None:
    """Train the judge of words that `chatbot eval policy` asks; prints how good it is."""
    from eval.policy.unsafe import FOLDER, read_ordinary, read_rated, train

    judge = train(read_rated(data), read_ordinary(ordinary))
    judge.save(out or FOLDER)
    for language, card in judge.card.items():
        for source, found in card["measured"].items():
            typer.echo(f"{language} {source}: n {found['n']}, area under ROC {found['auc']:.3f}")
