"""The commands below `chatbot policy`: which rules there are, and what they make of a message."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from chatbot.console import quiet_libraries
from chatbot.controls import Controls
from chatbot.policy import SHIPPED, Policy, Rule, read_rules

app = typer.Typer(name="policy", help="Rules about sensitive topics.", no_args_is_help=True)

RulesFile = Annotated[
    Path, typer.Option("--rules", help="A file of rules in the place of the shipped ones.")
]
Encoder = Annotated[
    str | None,
    typer.Option(help="Text encoder, a folder or hub name; the default one if left out."),
]


@app.callback()
def _group() -> None:
    """Rules about sensitive topics."""


@app.command("list")
def list_rules(rules: RulesFile = SHIPPED) -> None:
    """The rules: what each listens for, from what probability on, and what it changes."""
    for rule in read_rules(rules):
        typer.echo(_described(rule))


@app.command()
def check(
    text: Annotated[list[str], typer.Argument(help="The turns, oldest first; the last is yours.")],
    controls: Annotated[str, typer.Option(help="What is asked for, as joy=.5,game=.3.")] = "",
    rules: RulesFile = SHIPPED,
    encoder: Encoder = None,
) -> None:
    """What the last message is about, which rules fire, and the controls that come of them."""
    from chatbot.embedding import Embedder
    from chatbot.topics import TopicDetector

    quiet_libraries()
    detector = TopicDetector.load(embedder=Embedder.load(encoder))
    decision = Policy.load(rules, detector).apply(text, Controls.parse(controls))
    read = sorted(decision.topics.probabilities.items(), key=lambda item: -item[1])
    typer.echo("topics    " + "  ".join(f"{name} {value:.2f}" for name, value in read))
    if decision.topics.carried >= 0.01:
        typer.echo(f"          {decision.topics.carried:.2f} of it from earlier turns")
    for fired in decision.fired:
        typer.echo(
            f"fires     {fired.name}: {fired.detector} {fired.probability:.2f}, threshold "
            f"{fired.threshold:g}. {fired.reason}"
        )
    asked = decision.controls.at((len(text) + 1) // 2)
    typer.echo("controls  " + (_strengths(asked) or "none"))
    for note in decision.notes:
        typer.echo(f"note      {note}")


@app.command()
def train(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write, replaced whole. If left out: where bots with this encoder find "
            "it, controllable-chatbot/topics in $XDG_DATA_HOME or ~/.local/share."
        ),
    ] = None,
    data: Annotated[
        list[Path],
        typer.Option(help='Lines of {"text", "topic"}, beside the examples that are shipped.'),
    ] = [],  # noqa: B006  # typer copies it
    held_back: Annotated[
        list[str],
        typer.Option(help="A source kept out of the training and used to calibrate and score."),
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0)] = 0,
    encoder: Encoder = None,
) -> None:
    """Train the detector of topics and the reader of reactions; print the detector's scores.

    The scores are of the sources held back. Both fit one text encoder only.
    """
    from chatbot.embedding import Embedder
    from chatbot.topics import own_detector
    from chatbot.training.folders import replace_folder
    from chatbot.training.reactions import read_reactions, train_reactions
    from chatbot.training.topics import train_detector

    quiet_libraries()
    embedder = Embedder.load(encoder)
    out = out or own_detector(embedder.identity["digest"])
    probe, card = train_detector(data, held_back, embedder, seed=seed)
    reactions, card["reactions"] = train_reactions(read_reactions(), embedder, seed=seed)

    def write(folder: Path) -> None:
        probe.save(folder, card)
        reactions.save(folder)

    replace_folder(out, write)
    typer.echo(f"{card['examples']} examples, temperature {probe.temperature:.2f}, see {out}")
    read = "  ".join(f"{topic} {value:g}" for topic, value in card["thresholds"].items())
    typer.echo(f"thresholds for {SHIPPED.name}: {read}")
    for line in card.get("held_back", {}).get("table", []):
        typer.echo(line)


@app.command()
def gather(
    data: Annotated[Path, typer.Argument(help="Folder with sensitive/, dialogue/ and ethics/.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write, for `train --data`.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Collect labelled texts of others for the training of the detector."""
    import json

    from chatbot.training.folders import replace_file
    from chatbot.training.topic_texts import gather as gathered

    rows = [json.dumps(row, ensure_ascii=False) for row in gathered(data, seed=seed)]
    replace_file(out, ("\n".join(rows) + "\n").encode())
    typer.echo(f"{len(rows)} texts, see {out}")


def _described(rule: Rule) -> str:
    change = [f"sets {_strengths(rule.change.set)}"] if rule.change.set else []
    change += [f"puts {', '.join(rule.change.aside)} aside"] if rule.change.aside else []
    change += [f"prefers {_strengths(rule.change.prefer)}"] if rule.change.prefer else []
    state = "" if rule.is_on else " (off)"
    return (
        f"{rule.name}{state}: {rule.detector} from {rule.threshold:g} on; "
        f"{'; '.join(change) or 'changes nothing'}\n  {rule.reason['en']}"
    )


def _strengths(strengths: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in strengths.items())
