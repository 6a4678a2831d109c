"""The commands below `chatbot eval`."""

from pathlib import Path
from typing import Annotated

import typer

from chatbot.cli import (
    Bags,
    Candidates,
    ControlsText,
    Device,
    MaxNewTokens,
    Model,
    Novelty,
    Temperature,
    TopK,
    TopP,
)
from chatbot.console import progress, quiet_libraries
from chatbot.controls import Controls
from chatbot.types import Ranking, Sampling

app = typer.Typer(name="eval", help="Numbers about the bot, offline.", no_args_is_help=True)

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
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
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
        ranking=Ranking(novelty=novelty),
    )
    quiet_libraries()
    bot = Chatbot.load(model, device=device)
    for file in bag:
        bot.add_attribute(file)
    n_answered = respond_file(
        bot, in_path, out_path, settings, watch=lambda x: progress(x, "respond")
    )
    typer.echo(f"{n_answered} contexts answered, see {out_path}", err=True)
