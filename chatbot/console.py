"""What the command lines share: how bad input ends, where progress is told. Loads nothing heavy."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer

from chatbot.errors import ChatbotError

BAD_INPUT = 2
"""Exit code where a file, an option or a folder is not what it should be."""

T = TypeVar("T")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Ends the program with the message and code 2 where the input is at fault.

    As a decorator, below `@app.command()`, it holds for a whole command.
    """
    try:
        yield
    except ChatbotError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def log_to_stderr() -> None:
    """Shows what the packages log, with the time, on stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )


def progress(items: Iterable[T], label: str, *, length: int | None = None) -> Iterator[T]:
    """The items, with a bar and the time left on stderr while they are worked on.

    Args:
        length: of `items`, where they do not know it.
    """
    with typer.progressbar(items, length=length, label=label, file=sys.stderr) as bar:
        yield from bar
