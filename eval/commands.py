"""The commands below `chatbot eval`."""

from pathlib import Path
from typing import Annotated

import typer

from chatbot.console import progress, quiet_libraries

app = typer.Typer(name="eval", help="Numbers about the bot, offline.", no_args_is_help=True)

Model = Annotated[
    str | None,
    typer.Option("--model", help="Folder of a generator; the shipped one if left out."),
]


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
    model: Model = None,
    seed: Annotated[int, typer.Option(min=0, help="Of line 1; line n has this + n - 1.")] = 0,
    candidates: Annotated[int, typer.Option(min=1, help="Replies drawn per context.")] = 20,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.88,
) -> None:
    """Answer every context.

    Each line of OUT has all keys of its input line and response, candidates and trace. Lines
    already in OUT are kept.
    """
    from chatbot.bot import Chatbot
    from chatbot.types import Sampling
    from eval.respond import respond_file

    quiet_libraries()
    sampling = Sampling(candidates=candidates, temperature=temperature)
    bot = Chatbot.load(model)
    n_answered = respond_file(
        bot, in_path, out_path, seed=seed, sampling=sampling,
        watch=lambda x: progress(x, "respond"),
    )  # fmt: skip
    typer.echo(f"{n_answered} contexts answered, see {out_path}", err=True)
