"""`chatbot eval control`, and `chatbot eval judge`, which trains what it judges by."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from attribute_models.lexicon import language_of
from chatbot.cli import Device, Model
from chatbot.console import progress, quiet_libraries
from chatbot.controls import Mode
from chatbot.errors import InputError
from chatbot.types import Sampling

if TYPE_CHECKING:
    from chatbot.bot import Chatbot
    from chatbot.embedding import Embedder
    from eval.control.plan import Run
    from eval.control.tables import Tables
    from eval.judges import Jury

judge_app = typer.Typer(
    name="judge", help="The judges that `chatbot eval control` asks.", no_args_is_help=True
)

ATTRIBUTES = (
    "joy,surprise,anger,sadness,fear,disgust,positive,negative,"
    "game,sports,science,technology,food,music,travel"
)
MIXES = "joy+surprise+game"
SETTINGS, REPLIES = "run.json", "replies.jsonl"


def control(
    attributes: Annotated[
        str | None,
        typer.Option(help="Asked for one at a time; if left out, those that can be judged."),
    ] = None,
    mixes: Annotated[
        str | None,
        typer.Option(
            help=f"Asked for together, each at full strength; {MIXES} if it can be judged."
        ),
    ] = None,
    strengths: Annotated[str, typer.Option(help="From 0 to 1.")] = "0.25,0.5,0.75,1",
    contexts: Annotated[
        Path | None, typer.Option(help='Lines of {"context": [...]}; our own if left out.')
    ] = None,
    language: Annotated[str, typer.Option(help="Of our own contexts: en or ko.")] = "en",
    n: Annotated[int, typer.Option(min=1, help="Contexts answered.")] = 100,
    modes: Annotated[str, typer.Option(help="Among hidden, layers, pplm.")] = "hidden",
    graded: Annotated[
        str | None,
        typer.Option(
            help="Rise over the six turns of English conversations; empty for none. If left out: "
            "anger in English, none in Korean."
        ),
    ] = None,
    best_of: Annotated[
        bool, typer.Option(help="Also rank unsteered candidates, as a rival.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Folder for replies and report.")] = Path("control"),
    seed: Annotated[int, typer.Option(min=0, help="Of the first context.")] = 0,
    candidates: Annotated[
        int, typer.Option(help="Replies drawn, of which the best is given.")
    ] = Sampling().candidates,
    batch: Annotated[int, typer.Option(min=1, help="Contexts answered at once.")] = 8,
    report_only: Annotated[
        bool, typer.Option(help="Draw nothing: make the report of --out again.")
    ] = False,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Answer contexts steered and unsteered, and let judges say what came of it.

    Writes run.json, replies.jsonl, report.md, report.json and pictures to the folder of --out. A
    run cut off goes on with the replies that are there; so does one with more attributes.
    """
    from chatbot.bot import Chatbot
    from eval.control.plan import CONTEXTS, Run, check_run, read_contexts, read_talks

    quiet_libraries()
    if report_only:
        run, bot = Run.read(out / SETTINGS), None
        jury = _jury(run.language)
    else:
        if language not in ("en", "ko"):
            raise InputError(f"no contexts in {language!r}; give en or ko, or --contexts FILE")
        answered = read_contexts(contexts or CONTEXTS / f"{language}.jsonl", n)
        spoken = language_of(" ".join(one.turns[-1] for one in answered)) or "en"
        jury = _jury(spoken)
        rising = _names(("anger" if spoken == "en" else "") if graded is None else graded)
        run = Run(
            model={},
            attributes=_judged(ATTRIBUTES, jury) if attributes is None else _names(attributes),
            mixes=tuple(
                _names(mix, "+")
                for mix in (_names(mixes) if mixes is not None else (MIXES,))
                if mixes is not None or _judged(mix, jury, "+") == _names(mix, "+")
            ),
            strengths=_strengths(strengths),
            modes=_modes(modes),
            contexts=answered,
            talks=read_talks(CONTEXTS / "talks.jsonl") if rising else (),
            graded=rising, seed=seed, candidates=candidates, batch=batch, best_of=best_of,
        )  # fmt: skip
        # Steering alone: rules and filter would change what is asked and what is said.
        bot = Chatbot.load(model, device=device, guarded=False)
        run = run.model_copy(update={"model": dict(bot.backbone.identity)})
        out.mkdir(parents=True, exist_ok=True)
        check_run(run, bot, jury)
        run.save(out / SETTINGS)
    tables, told = _evaluate(run, bot, jury, out)
    _write(run, tables, jury, out)
    typer.echo(told)


def _jury(language: str) -> "Jury":
    from eval.judges import Jury, folder_of

    return Jury.load(_encoder(language), folder_of(language))


def _encoder(language: str) -> "Embedder":
    """MiniLM alone for English: its judges stay when the encoder of Korean changes."""
    from chatbot.embedding import Embedder

    return Embedder.load_english() if language == "en" else Embedder.load()


def _evaluate(run: "Run", bot: "Chatbot | None", jury: "Jury", out: Path) -> tuple["Tables", str]:
    from eval.control.answers import Answers
    from eval.control.report import summary
    from eval.control.tables import make_tables

    with Answers(
        out / REPLIES, run.model, candidates=run.candidates, batch=run.batch, bot=bot
    ) as answers:
        tables = make_tables(run, answers, jury, watch=lambda x: progress(x, "control"))
        speed = f"{answers.drawn} replies drawn"
        if answers.drawn:
            speed += f", {answers.seconds / answers.drawn:.2f} s each"
        return tables, f"{summary(run, tables)}\n{speed}; see {out / 'report.md'}"


def _write(run: "Run", tables: "Tables", jury: "Jury", out: Path) -> None:
    from eval.control.pictures import PicturesError, draw_pictures
    from eval.control.report import as_json, as_markdown

    try:
        pictures: Sequence[str] = draw_pictures(tables, out)
    except PicturesError as error:
        typer.echo(f"chatbot: {error}", err=True)
        pictures = ()
    told = json.dumps(as_json(run, tables, jury), ensure_ascii=False, indent=1)
    (out / "report.json").write_text(told + "\n", encoding="utf-8")
    (out / "report.md").write_text(as_markdown(run, tables, jury, pictures), encoding="utf-8")


def _judged(text: str, jury: "Jury", sign: str = ",") -> tuple[str, ...]:
    """The names that the judges know."""
    known = jury.attributes()
    return tuple(name for name in _names(text, sign) if name in known)


def _names(text: str, sign: str = ",") -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(sign))))


def _strengths(text: str) -> tuple[float, ...]:
    try:
        values = sorted({float(part) for part in _names(text)})
    except ValueError:
        values = []
    if not values or not all(0 < value <= 1 for value in values):
        raise InputError(f"the strengths are {text!r}; give numbers above 0, at most 1: .5,1")
    return tuple(values)


def _modes(text: str) -> tuple[Mode, ...]:
    names = _names(text)
    if not names or set(names) - set(get_args(Mode)):
        raise InputError(f"the modes are {text!r}; give some of {', '.join(get_args(Mode))}")
    return cast("tuple[Mode, ...]", names)


@judge_app.callback()
def _group() -> None:
    """The judges that `chatbot eval control` asks."""


@judge_app.command()
def train(
    family: Annotated[str, typer.Argument(help="emotion, sentiment or topic.")],
    data: Annotated[
        list[Path], typer.Argument(help='Lines of {"text", "label", "split": train or valid}.')
    ],
    language: Annotated[str, typer.Option(help="Of the texts: en or ko.")] = "en",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the judge; where the shipped ones lie.")
    ] = None,
    most: Annotated[int, typer.Option(help="Training texts of a source and label.")] = 5000,
) -> None:
    """Train a judge; prints how good it is on the valid texts."""
    from eval.judge_training import read_examples, train_judge
    from eval.judges import LABELS, folder_of

    quiet_libraries()
    judge = train_judge(
        family, read_examples(data, most=most, labels=LABELS.get(family)),
        _encoder(language) if language == "en" else None,
        watch=lambda x: progress(x, "sentence vectors"),
    )  # fmt: skip
    judge.save(out or folder_of(language))
    typer.echo(f"macro-F1 on valid texts {judge.card['valid']['macro_f1']:.3f}")


@judge_app.command()
def topics(
    out: Annotated[Path, typer.Argument(help="Gets the labelled texts.")],
    data: Annotated[list[Path], typer.Argument(help="Files of dialogues or documents.")],
    most: Annotated[int, typer.Option(help="Turns looked at of a topic or file.")] = 2000,
) -> None:
    """Label turns by topic for `chatbot eval judge train topic OUT`."""
    from eval.topic_texts import topic_texts

    quiet_libraries()
    lines = topic_texts(
        data, _encoder("en"), most=most, watch=lambda x: progress(x, "sentence vectors")
    )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    out.write_bytes(text.encode("utf-8", "backslashreplace"))
    typer.echo(f"{len(lines)} texts, see {out}")
