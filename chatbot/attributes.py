"""The commands below `chatbot attributes`: which there are, and what they are made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.errors import InputError

if TYPE_CHECKING:
    from chatbot.binding import Bound

app = typer.Typer(name="attributes", help="What replies can be steered by.", no_args_is_help=True)

LANGUAGES = ("en", "ko")


@app.callback()
def _group() -> None:
    """What replies can be steered by."""


@app.command("list")
def list_attributes() -> None:
    """All attributes, with the number of words in each language."""
    from attribute_models.lexicon import load_shipped, shipped_lists

    for name, files in shipped_lists().items():
        counts = (f"{file.parent.name} {len(load_shipped(file).weights):4}" for file in files)
        typer.echo(f"{name:12} {'   '.join(counts)}")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="An attribute, or the file of a word list.")],
    language: Annotated[str, typer.Option(help="en or ko; all it has if left out.")] = "",
    model: Annotated[
        str | None, typer.Option(help="Model folder; the shipped one if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """The words of an attribute as the generator sees them.

    Each line is a word, its weight where that is not 1, the pieces it is split into, and the
    chance that a word of the list will be complete once the first piece has been drawn.
    """
    from chatbot.bot import Chatbot
    from chatbot.console import quiet_libraries

    if language and language not in LANGUAGES:
        raise InputError(f"no language {language!r}; give {' or '.join(LANGUAGES)}")
    quiet_libraries()
    bot = Chatbot.load(model, device=device)
    if Path(name).is_file():
        name = bot.add_attribute(name)
    bot.check({name: 1.0})
    asked = [language] if language else LANGUAGES
    bound = [one for lang in asked if (one := bot.steerer.bound(name, lang))]
    if not bound:
        has = ", ".join(bot.steerer.languages(name))
        raise InputError(f"{name} has no words in {language}; it has some in {has}")
    for one in bound:
        typer.echo("\n".join(_described(one)))


def _described(bound: "Bound") -> list[str]:
    bag, covered = bound.bag, bound.bag.coverage()
    lines = [
        f"{bag.spec.name}, language {bag.spec.language or 'any'}, digest {bag.spec.digest[:12]}"
    ]
    for one in covered:
        weight = f" x{one.weight:g}" if one.weight < 1 else ""
        pieces = "|".join(piece.strip() for piece in one.pieces)
        lines.append(f"  {one.word + weight:24} {pieces:30} {one.chance:.2f}")
    if bag.neighbours:
        lines.append("used like these words, counted in part:")
        lines += [f"  {one.text.strip():24} {one.weight:.2f}" for one in bag.neighbours]
    single = sum(len(one.pieces) == 1 for one in covered)
    lines += [
        f"{len(covered)} words, all reachable: {single} as one piece, {len(covered) - single} as "
        f"several; {sum(one.n_paths for one in covered)} spellings and inflections",
        f"An unsteered reply has {bound.clean_words:.2f} of them; strength 0.5 asks for "
        f"{bound.wanted(0.5):.2f}, strength 1 for {bound.wanted(1.0):.2f}.",
    ]
    return lines
