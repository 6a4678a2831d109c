"""The commands below `chatbot eval ssa`."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatbot.cli import (
    Candidates,
    Coherence,
    ControlsText,
    MaxNewTokens,
    Novelty,
    Temperature,
    TopK,
    TopP,
)
from chatbot.console import progress, quiet_libraries
from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import Ranking, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eval.ssa.bots import Bot, Settings
    from eval.ssa.compare import Comparison, Difference
    from eval.ssa.scoring import ScorerLike

app = typer.Typer(
    name="ssa", help="Sensibleness and specificity: score, label, compare.", no_args_is_help=True
)
run = typer.Typer(name="run", help="Let a bot answer, and score it.", no_args_is_help=True)
app.add_typer(run)

_SAMPLING, _RANKING = Sampling(), Ranking()

ScorerFolder = Annotated[
    Path | None, typer.Option("--scorer", help="Folder of a scorer; the shipped one if left out.")
]
BotName = Annotated[
    str | None,
    typer.Option(
        "--bot",
        help="Model folder or name, URL of an OpenAI-compatible server (key: OPENAI_API_KEY), or "
        "file of answers; the shipped bot if left out.",
    ),
]
BotModel = Annotated[
    str | None, typer.Option(help="Model asked for at a server; the first it lists if left out.")
]
Name = Annotated[str, typer.Option("--name", help="What tables call the system.")]
Seed = Annotated[int, typer.Option(min=0)]
LabelFiles = Annotated[
    list[Path], typer.Option("--labels", help="Labels of one rater; give it once for each.")
]
Resamples = Annotated[int, typer.Option(min=1000, help="Draws of the bootstrap.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Sensibleness and specificity: score, label, compare."""


@app.command()
def score(
    in_path: Annotated[Path, typer.Argument(metavar="IN", help="Responses or dialogues.")],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets the lines scored.")],
    format: Annotated[
        str, typer.Option(help="jsonl, csv, parlai or plain; found by itself if left out.")
    ] = "auto",
    engine: Annotated[
        str, typer.Option(help="local, or ray for many cores or machines.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Processes of the engine ray.")] = 2,
    scorer: ScorerFolder = None,
) -> None:
    """Score responses to contexts, or the replies of whole dialogues.

    IN is JSONL ({"context": [...], "response": ...}, {"turns": [...]} or OpenAI's {"messages":
    [...]}), CSV with the columns context (turns apart by |||) and response, ParlAI text, or plain
    "Human: ..." / "Bot: ..." lines. Each line of OUT has all keys of its input, and sensible,
    specific and ssa from 0 to 1. Lines already in OUT are kept.
    """
    from functools import partial

    from eval.ssa.scoring import load_scorer, score_file

    # Workers take as many threads as this process would: sums over others differ in last bits.
    threads = _threads() if engine == "ray" else None
    load = partial(load_scorer, scorer, threads)
    n_scored = score_file(
        load, in_path, out_path, format=format, engine=engine, workers=workers,
        watch=lambda x, n: progress(x, "score", length=n),
    )  # fmt: skip
    typer.echo(f"{n_scored} lines scored, see {out_path}", err=True)


@run.command()
def static(
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets responses and scores.")],
    contexts: Annotated[
        Path | None, typer.Option(help='Lines of {"context": [...]}; the shipped ones if left out.')
    ] = None,
    bot: BotName = None,
    bot_model: BotModel = None,
    name: Name = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first contexts.")] = None,
    seed: Seed = 0,
    scorer: ScorerFolder = None,
    controls: ControlsText = "",
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
    coherence: Coherence = _RANKING.coherence,
) -> None:
    """Let a bot answer a set of contexts, and score the responses. Lines already there are kept."""
    from eval.ssa.bots import Settings
    from eval.ssa.runs import CONTEXTS, run_static

    settings = Settings(
        Controls.parse(controls),
        Sampling(candidates, temperature, top_k, top_p, max_new_tokens),
        Ranking(novelty=novelty, coherence=coherence),
    )
    opened = _open(bot, settings, name, bot_model)
    n_made = run_static(
        opened, _scorer(scorer), out_path, contexts=contexts or CONTEXTS, seed=seed, limit=limit,
        watch=_watch("run static"),
    )  # fmt: skip
    typer.echo(f"{n_made} contexts answered and scored, see {out_path}", err=True)


@run.command()
def interactive(
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets the conversations.")],
    person: Annotated[bool, typer.Option("--person", help="You talk with the bot.")] = False,
    conversations: Annotated[int, typer.Option(min=1, help="Of the bot with itself.")] = 100,
    turns: Annotated[int, typer.Option(min=14, max=28, help="Of each, the opening too.")] = 14,
    bot: BotName = None,
    bot_model: BotModel = None,
    name: Name = "",
    seed: Seed = 0,
    scorer: ScorerFolder = None,
    controls: ControlsText = "",
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
    coherence: Coherence = _RANKING.coherence,
) -> None:
    """Conversations that open with "Hi!": of the bot with itself, or with you; scored."""
    from eval.ssa.bots import Settings
    from eval.ssa.runs import run_self_chat

    settings = Settings(
        Controls.parse(controls),
        Sampling(candidates, temperature, top_k, top_p, max_new_tokens),
        Ranking(novelty=novelty, coherence=coherence),
    )
    opened = _open(bot, settings, name, bot_model)
    if person:
        _talk(opened, _scorer(scorer), out_path, seed)
        return
    n_made = run_self_chat(
        opened, _scorer(scorer), out_path, conversations=conversations, turns=turns, seed=seed,
        watch=_watch("run interactive"),
    )  # fmt: skip
    typer.echo(f"{n_made} conversations, see {out_path}", err=True)


@app.command()
def tasks(
    files: Annotated[list[Path], typer.Argument(help="Responses in any format of `score`.")],
    out: Annotated[Path, typer.Option("--out", help="Gets the tasks.")],
    gold: Annotated[
        Path | None, typer.Option(help="Lines of context, response, gold: checks to mix in.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many responses, picked at random.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Make labelling tasks of responses: shuffled, without any word of which system made them."""
    from eval.ssa.labels import make_tasks, write_tasks

    made = make_tasks(files, gold=gold, limit=limit, seed=seed)
    write_tasks(made, out)
    checks = sum(task.gold is not None for task in made)
    typer.echo(f"{len(made)} tasks, {checks} of them checks, see {out}", err=True)


@app.command()
def label(
    tasks_path: Annotated[Path, typer.Argument(metavar="TASKS", help="Of `tasks`.")],
    out: Annotated[Path, typer.Option("--out", help="Your labels; one file per rater.")],
    rater: Annotated[str, typer.Option(help="Your name.")],
    seed: Seed = 0,
) -> None:
    """Label at the prompt: sensible first, specific only if so. Goes on where you left."""
    from eval.ssa.labels import LabelSession, read_tasks
    from eval.ssa.terminal import TerminalLabels

    session = LabelSession(read_tasks(tasks_path), out, rater, seed=seed)
    TerminalLabels(session, ask=input, say=typer.echo).run()


@app.command()
def agree(
    files: Annotated[list[Path], typer.Argument(help="Labels, one file per rater.")],
    tasks_path: Annotated[
        Path | None, typer.Option("--tasks", help="The tasks, to see the checks.")
    ] = None,
    seed: Seed = 0,
    resamples: Resamples = 10_000,
    as_json: Json = False,
) -> None:
    """How far raters agree: percent, Krippendorff's alpha, Gwet's AC1, and each rater's habits."""
    from eval.ssa.labels import gold_results, read_labels, read_tasks
    from eval.ssa.report import agreement_of
    from eval.ssa.report_markdown import agreement_table, rater_table

    labels = read_labels(files)
    found = agreement_of(labels, seed=seed, resamples=resamples)
    if not found:
        raise InputError("no response has the labels of two raters; there is nothing to compare")
    checks = gold_results(read_tasks(tasks_path), labels) if tasks_path else {}
    if as_json:
        typer.echo(json.dumps({"agreement": found, "checks": checks}, indent=1))
        return
    typer.echo("\n".join([*agreement_table(found), "", *rater_table(found)]))
    for name, (right, seen) in sorted(checks.items()):
        typer.echo(f"{name}: {right} of {seen} checks as known")
    typer.echo(
        f"Brackets: 95 %, by drawing responses {resamples} times, seed {seed}. Alpha of labels "
        "that are all the same is 0/0; it is given as 1 and said so."
    )


@app.command()
def compare(
    a_path: Annotated[Path, typer.Argument(metavar="A", help="Scored file: the baseline.")],
    b_path: Annotated[Path, typer.Argument(metavar="B", help="Scored file on the same contexts.")],
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="B may be worse by so much (0.02: two points).")
    ] = 0.0,
    show: Annotated[int, typer.Option(min=0, help="Contexts printed that changed most.")] = 5,
    seed: Seed = 0,
    resamples: Resamples = 10_000,
    as_json: Json = False,
) -> None:
    """Compare B with A, context by context.

    Exit code 1 where B's SSA is worse by more than the margin: the whole 95 % interval of B - A
    lies below it. 0 otherwise, 2 for bad input.
    """
    from dataclasses import asdict

    from eval.ssa.compare import compare as compare_systems
    from eval.ssa.results import read_system

    found = compare_systems(
        read_system(a_path), read_system(b_path), seed=seed, resamples=resamples
    )
    is_worse = found.is_worse(margin)
    if as_json:
        told: dict[str, Any] = asdict(found) | {
            "margin": margin, "is_worse": is_worse,
            "is_shown_no_worse": found.is_shown_no_worse(margin),
        }  # fmt: skip
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        _print_comparison(found, margin, show)
    raise typer.Exit(1 if is_worse else 0)


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="Scored files.")],
    out: Annotated[
        Path, typer.Option("--out", help="The page; .md and .json are written beside it.")
    ] = Path("report.html"),
    labels: LabelFiles = [],  # noqa: B006  # typer copies it
    seed: Seed = 0,
    resamples: Resamples = 10_000,
) -> None:
    """One HTML page, Markdown and JSON of scored files, with people's labels where there are."""
    from eval.ssa.labels import read_labels
    from eval.ssa.report import build_report
    from eval.ssa.report_html import html
    from eval.ssa.report_markdown import markdown

    made = build_report(
        files, read_labels(labels), command=_command(), seed=seed, resamples=resamples
    )
    texts = {
        ".html": html(made),
        ".md": markdown(made),
        ".json": json.dumps(made, ensure_ascii=False, indent=1) + "\n",
    }
    try:
        for suffix, text in texts.items():
            out.with_suffix(suffix).write_text(text, "utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    typer.echo(f"see {', '.join(str(out.with_suffix(suffix)) for suffix in texts)}", err=True)


@app.command()
def selftest(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Labelled lines; ours if left out.")
    ] = None,
    scorer: ScorerFolder = None,
    seed: Seed = 0,
) -> None:
    """Print the scorer's figures on a small labelled file of our own, and its digest."""
    from eval.ssa.selftest import FILE
    from eval.ssa.selftest import selftest as measure

    identity, figures = measure(_scorer(scorer), path or FILE, seed=seed)
    typer.echo(f"scorer {identity['name']}, digest {identity['digest']}")
    for one in figures:
        typer.echo(str(one))
    typer.echo(f"AUC intervals: 95 %, by drawing contexts 10000 times, seed {seed}")


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="en/ and ko/ with SOURCE.train.jsonl[.xz].")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder; gets the scorer.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="For the reader alone.")] = 90.0,
    labels: Annotated[
        Path | None, typer.Option(help="Lines that people labelled; for the calibration only.")
    ] = None,
) -> None:
    """Train a scorer from dialogues; use it with --scorer OUT."""
    import logging

    from eval.ssa.train import train as train_scorer

    quiet_libraries()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    train_scorer(data, out, minutes, labels=labels)


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="Gets a scored file for each arm.")],
    out: Annotated[Path, typer.Option("--out", help="Gets the table, Markdown.")] = Path(
        "docs/ssa.md"
    ),
    arms: Annotated[str, typer.Option(help="Some arms only, such as plain,joy-1.")] = "",
    contexts: Annotated[
        Path | None, typer.Option(help="Lines of contexts; the shipped ones if left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first contexts.")] = None,
    seed: Seed = 0,
    scorer: ScorerFolder = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder; the shipped one if left out.")
    ] = None,
) -> None:
    """What control costs: the bot plain, steered, without filter, with one candidate. Resumes."""
    from chatbot.bot import Chatbot
    from eval.ssa.runs import CONTEXTS
    from eval.ssa.table import pick_arms, run_arms
    from eval.ssa.table import table as draw

    picked = pick_arms([name.strip() for name in arms.split(",") if name.strip()])
    quiet_libraries()
    systems = run_arms(
        Chatbot.load(model), _scorer(scorer), folder, picked, contexts=contexts or CONTEXTS,
        limit=limit, seed=seed, watch=_watch,
    )  # fmt: skip
    text = draw(systems, command=_command(), seed=seed)
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    typer.echo(text)


def _open(given: str | None, settings: "Settings", name: str, model: str | None) -> "Bot":
    from eval.ssa.bots import open_bot

    quiet_libraries()
    return open_bot(given, settings, name=name, server_model=model)


def _scorer(folder: Path | None) -> "ScorerLike":
    from eval.ssa.scoring import load_scorer

    return load_scorer(folder)


def _threads() -> int:
    """What PyTorch takes here."""
    import torch

    return torch.get_num_threads()


def _watch(label: str) -> "Callable[[Iterator[dict[str, Any]], int], Iterable[dict[str, Any]]]":
    return lambda records, n: progress(records, label, length=n)


def _command() -> str:
    return shlex.join(["chatbot", *sys.argv[1:]])


def _talk(bot: "Bot", scorer: "ScorerLike", out_path: Path, seed: int) -> None:
    from eval.ssa.runs import LEAST_TURNS, append_conversation, talk

    typer.echo("Type a message and press Enter; /quit or Ctrl-D leaves.")
    turns = talk(bot, seed=seed, read=_typed, say=typer.echo)
    if len(turns) < LEAST_TURNS:
        typer.echo(f"Not kept: {len(turns)} turns, the protocol wants {LEAST_TURNS}.", err=True)
        return
    append_conversation(scorer, bot, turns, seed, out_path)
    typer.echo(f"{len(turns)} turns kept, see {out_path}", err=True)


def _typed() -> str | None:
    try:
        text = input("you> ")
    except EOFError:
        return None
    return None if text.strip() == "/quit" else text


def _print_comparison(found: "Comparison", margin: float, show: int) -> None:
    typer.echo(
        f"A {found.a}, B {found.b}: {len(found.pairs)} pairs, {found.left_out} left out that only "
        "one has"
    )
    for one in found.differences:
        typer.echo(_difference_line(one))
    if found.same_length is not None:
        typer.echo(f"SSA, B - A at equal length of responses: {found.same_length:+.3f}")
    typer.echo(
        f"Brackets: 95 %, by drawing pairs {found.resamples} times, seed {found.seed}. "
        "Detectable: the least true difference found 4 times in 5."
    )
    changed = sorted(found.pairs, key=lambda p: p.b["ssa"] - p.a["ssa"])
    for pair in [p for p in changed if p.b["ssa"] != p.a["ssa"]][:show]:
        typer.echo(f"  {pair.a['ssa']:.2f} -> {pair.b['ssa']:.2f}  {pair.name}")
        typer.echo(f"    A: {pair.a_text!r:.100}\n    B: {pair.b_text!r:.100}")
    verdict = "worse" if found.is_worse(margin) else "not shown to be worse"
    if found.is_shown_no_worse(margin):
        verdict = "shown to be no worse"
    typer.echo(f"B is {verdict} than A, margin {margin:g}")


def _difference_line(one: "Difference") -> str:
    line = (
        f"{one.metric:9} A {one.a:.3f}  B {one.b:.3f}  B - A {one.value:+.3f} "
        f"{one.interval or '(one pair: no interval)'}  detectable {one.detectable:.3f}  "
        f"better {one.b_better}, worse {one.b_worse}"
    )
    if one.p is None:
        return line
    return (
        f"{line}  McNemar p {one.p:.3g} (Holm {one.p_holm:.3g}), A only {one.only_a}, "
        f"B only {one.only_b}"
    )
