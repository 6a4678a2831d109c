"""The commands below `chatbot eval`."""

from pathlib import Path
from typing import Annotated

import typer

from chatbot.cli import (
    AllowPickle,
    Bags,
    Candidates,
    Coherence,
    ControlsText,
    Device,
    Dtype,
    Guarded,
    MaxNewTokens,
    Model,
    Novelty,
    PromptFormat,
    Temperature,
    TopK,
    TopP,
)
from chatbot.console import progress, quiet_libraries
from chatbot.controls import Controls
from chatbot.types import Ranking, Sampling
from eval.control.commands import control, judge_app
from eval.policy.commands import policy, unsafe
from eval.ssa.commands import app as ssa_app

app = typer.Typer(name="eval", help="Numbers about the bot, offline.", no_args_is_help=True)

app.command()(control)
app.command()(policy)
judge_app.command()(unsafe)
app.add_typer(judge_app)
app.add_typer(ssa_app)

_SAMPLING, _RANKING = Sampling(), Ranking()


@app.callback()
def _group() -> None:
    """Numbers about the bot, offline."""


@app.command()
def perplexity(
    in_path: Annotated[Path, typer.Argument(metavar="IN", help='Lines of {"turns": [...]}.')],
    out_path: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="Gets the lines with their scores.")
    ] = None,
    model: Model = None,
) -> None:
    """Score every turn after the first as a reply; print perplexity per piece and per word.

    Each line of OUT has all keys of its input line and nll (nats), tokens (pieces, the end of
    each reply counted), words, and the same per reply: turn_nll, turn_tokens, turn_words. Lines
    already in OUT are kept.
    """
    from chatbot.backbone import Backbone
    from eval.perplexity import score_file, total

    quiet_libraries()
    # float32, so that the numbers are those of the weights and not of the machine.
    backbone = Backbone.load(model, dtype="float32")
    scores = score_file(
        backbone, in_path, out_path, watch=lambda x, n: progress(x, "perplexity", length=n)
    )
    typer.echo(str(total(scores)))


@app.command()
def respond(
    in_path: Annotated[Path, typer.Argument(metavar="IN", help='Lines of {"context": [...]}.')],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets the lines answered.")],
    controls: ControlsText = "",
    bag: Bags = [],  # noqa: B006  # typer copies it
    seed: Annotated[int, typer.Option(min=0, help="Of line 1; line n has this + n - 1.")] = 0,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
    coherence: Coherence = _RANKING.coherence,
    guarded: Guarded = True,
    prompt_format: PromptFormat = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Answer every context, with the options of `chatbot respond`.

    Each line of OUT has all keys of its input line and response, candidates and trace. Lines
    already in OUT are kept; all must have been made with the same options.
    """
    from chatbot.bot import Chatbot
    from eval.respond import Settings, respond_file

    settings = Settings(
        seed=seed,
        controls=Controls.parse(controls),
        sampling=Sampling(candidates, temperature, top_k, top_p, max_new_tokens),
        ranking=Ranking(novelty=novelty, coherence=coherence),
    )
    quiet_libraries()
    bot = Chatbot.load(
        model, device=device, dtype=dtype, guarded=guarded, prompt_format=prompt_format,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    for file in bag:
        bot.add_attribute(file)
    n_answered = respond_file(
        bot, in_path, out_path, settings, watch=lambda x: progress(x, "respond")
    )
    typer.echo(f"{n_answered} contexts answered, see {out_path}", err=True)


@app.command()
def variety(
    in_path: Annotated[
        Path, typer.Argument(metavar="IN", help="Written by `chatbot eval respond`.")
    ],
) -> None:
    """Print how varied the answers of a file are: distinct-n, repeats, generic ones, language."""
    from eval.variety import variety_of_file

    typer.echo(str(variety_of_file(in_path)))


@app.command()
def ethics(
    in_path: Annotated[
        Path, typer.Argument(metavar="IN", help='Lines of {"text": ..., "context": [...]?}.')
    ],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets the lines judged.")],
    exemplars: Annotated[
        list[Path], typer.Option(help="Examples of your own, JSON lines of side, text, context.")
    ] = [],  # noqa: B006  # typer copies it
    folder: Annotated[
        Path | None, typer.Option("--filter", help="Filter folder; the shipped one if left out.")
    ] = None,
) -> None:
    """Judge every text as a reply to its context by the ethics filter.

    Each line of OUT has all keys of its input line and risk (0 to 1), category, accepted and
    nearest, the most similar example. Lines already in OUT are kept.
    """
    from chatbot.ethics import EthicsFilter
    from eval.ethics import judge_file

    quiet_libraries()
    judge = EthicsFilter.load(folder)
    for file in exemplars:
        judge = judge.with_exemplars(file)
    n_judged = judge_file(judge, in_path, out_path, watch=lambda x: progress(x, "ethics"))
    typer.echo(f"{n_judged} texts judged, see {out_path}", err=True)


@app.command()
def sensitive(
    in_path: Annotated[
        Path, typer.Argument(metavar="IN", help='Lines of {"text": ...} or {"context": [...]}.')
    ],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Gets the lines read.")],
    rules: Annotated[
        Path | None, typer.Option(help="A file of rules in the place of the shipped ones.")
    ] = None,
) -> None:
    """Tell which sensitive topic every message is about and which rules fire on it.

    Each line of OUT has all keys of its input line and topic, score (the topic's probability) and
    rules. With context and text, the text is the last turn. Lines already in OUT are kept.
    """
    from chatbot.policy import SHIPPED, Policy
    from eval.sensitive import sensitive_file

    quiet_libraries()
    policy = Policy.load(rules or SHIPPED)
    n_read = sensitive_file(policy, in_path, out_path, watch=lambda x: progress(x, "sensitive"))
    typer.echo(f"{n_read} messages read, see {out_path}", err=True)
