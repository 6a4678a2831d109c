"""What the batch commands share: a bar on stderr, libraries that draw none of their own."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import typer

T = TypeVar("T")


def progress(items: Iterable[T], label: str, *, length: int | None = None) -> Iterator[T]:
    """The items, with a bar and the time left on stderr while they are worked on.

    Args:
        label: what is being done.
        length: of `items`, where they do not know it.
    """
    with typer.progressbar(items, length=length, label=label, file=sys.stderr) as bar:
        yield from bar


def quiet_libraries() -> None:
    """No bars of `transformers` while a model is read."""
    from transformers.utils import logging

    logging.disable_progress_bar()
