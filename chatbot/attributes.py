"""The commands below `chatbot attributes`: which there are, and what they are made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.errors import InputError

if TYPE_CHECKING:
    from chatbot.binding import Bound

app = typer.Typer(name="attributes", help="What replies can be steered by.", no_args_is_help=True)

LANGUAGES = ("en", "ko")

Model = Annotated[
    str | None,
    typer.Option(help="Model folder or hub name, @ and a revision behind it; else the shipped."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PromptFormat = Annotated[
    str | None, typer.Option(help="How conversations are written; what the model has if left out.")
]


@app.callback()
def _group() -> None:
    """What replies can be steered by."""


@app.command("list")
def list_attributes() -> None:
    """All attributes: words in each language, and the learned heads of the shipped generator."""
    from attribute_models.heads import shipped_cards
    from attribute_models.lexicon import load_shipped, shipped_lists

    lists, heads = shipped_lists(), shipped_cards()
    for name in sorted({*lists, *(label for card in heads for label in card["labels"])}):
        counts = [
            f"words {file.parent.name} {len(load_shipped(file).weights):3}"
            for file in lists.get(name, ())
        ]
        learned = [
            f"head {card['family']} {card['language']}" for card in heads if name in card["labels"]
        ]
        typer.echo(f"{name:12} {'   '.join([*counts, *learned])}")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="An attribute, or the file of a word list.")],
    language: Annotated[str, typer.Option(help="en or ko; all it has if left out.")] = "",
    model: Model = None,
    device: Device = "auto",
    prompt_format: PromptFormat = None,
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
    bot = Chatbot.load(model, device=device, prompt_format=prompt_format, guarded=False)
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
    if not bot.steerer.heads:
        typer.echo(f"No learned heads fit this model; `{bot.steerer.train_command}` trains them.")


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


@app.command()
def train(
    file: Annotated[
        Path | None,
        typer.Argument(help='Lines of {"text", "label", "context"?}; its name is the family.'),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every shipped family, from --data.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data that the shipped families name; or a FILE."),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Label of FILE that shows nothing: the others are against it.")
    ] = "neutral",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the heads. If left out: where bots with this generator find them, "
            "controllable-chatbot/heads in $XDG_DATA_HOME or ~/.local/share."
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    prompt_format: PromptFormat = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder of the readers, a folder or hub name; the default one if left out."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of the longest part of the training.")] = 1600,
) -> None:
    """Train learned heads on the frozen generator: --all --data FOLDER, or a FILE of your own.

    Writes weights, calibration and a card for each family. Heads fit one generator only, what
    reads their effect one text encoder: train them again whenever either changes.
    """
    import logging

    from attribute_models.base import AttributeModelError
    from chatbot.binding import own_heads
    from chatbot.bot import Chatbot
    from chatbot.console import quiet_libraries
    from chatbot.training.heads import read_file, train_all, train_family

    if not every and file is None and data is not None and data.is_file():
        file = data
    if every == (file is not None) or (every and data is None):
        raise InputError("give either --all with --data FOLDER, or one FILE of labelled replies")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    bot = Chatbot.load(
        model, device=device, prompt_format=prompt_format, encoder=encoder, guarded=False
    )
    embedder = bot.steerer.embedder
    place = out or own_heads(bot.backbone.identity["digest"], embedder.identity["digest"])
    try:
        if file is not None:
            family, examples = read_file(file, file.name.partition(".")[0], reference)
            train_family(bot, embedder, family, examples, place, steps=steps)
        elif data is not None:
            train_all(bot, embedder, data, place, steps=steps)
    except AttributeModelError as error:
        raise InputError(str(error)) from error
    typer.echo(f"The heads lie in {place}.")
