"""The command `chatbot ui`."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatbot.store import MEMORY, Store
from ui.listening import address_of, free_port
from ui.loading import Compile, Device, Dtype, Model, loading

if TYPE_CHECKING:
    from ui.labelling import Labelling

app = typer.Typer(name="ui", help="The chat page, for a browser.")


@app.callback(invoke_without_command=True)
def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="To listen at; 0 for any free one.")
    ] = 7860,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="CHATBOT_DATA", metavar="FILE",
            help=f"Where chats are kept; {MEMORY} forgets them at the end. If left out: "
            "controllable-chatbot/conversations.sqlite3 in $XDG_DATA_HOME or ~/.local/share.",
        ),
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Delete chats not written to for so long.")
    ] = None,
    label: Annotated[
        Path | None,
        typer.Option(
            metavar="TASKS",
            help="Show a tab that asks for labels of these responses, of `chatbot eval ssa tasks`.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --label: where the labels go.")
    ] = None,
    rater: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --label: who gives them.")
    ] = None,
) -> None:  # fmt: skip
    """Show the chat page, and print its address. Works offline; chats stay on this machine."""
    labelling = _labelling(label, labels, rater)
    load = partial(loading, model, device, dtype, compile=compile)
    with Store.named(data, or_memory=True) as store:
        if keep_days is not None:
            store.delete_older(keep_days)
        _serve(store, labelling, host, port, load)


def _labelling(tasks: Path | None, labels: Path | None, rater: str | None) -> "Labelling | None":
    from chatbot.errors import InputError
    from ui.labelling import Labelling

    if tasks is None and labels is None and rater is None:
        return None
    if tasks is None or labels is None or rater is None:
        raise InputError("labels need all of --label TASKS, --labels FILE and --rater NAME")
    return Labelling(tasks, labels, rater)


def _serve(
    store: Store,
    labelling: "Labelling | None",
    host: str,
    port: int,
    load: Callable[[], Future[Any]],
) -> None:
    """Shows the page while the model is still loading, then waits for Ctrl-C."""
    port = free_port(host, port)  # told at once, not after everything was imported
    typer.echo("Starting ...", err=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    from chatbot.presets import list_presets
    from ui.app import launch
    from ui.handlers import Service
    from ui.turns import Turns

    # After Gradio is imported: two threads that import at once can meet half-made modules.
    bot = load()
    service = Service(Turns(bot), store, presets=list_presets(), labelling=labelling)
    demo, _ = launch(service, host=host, port=port)
    try:
        typer.echo(f"Open {address_of(host, port)} in a browser. Ctrl-C here ends the chat page.")
        if not bot.done():
            typer.echo("The model is loading; messages sent now are answered soon.", err=True)
        bot.result()
        typer.echo("The model is ready.", err=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("", err=True)
    finally:
        service.turns.close()
        demo.close(verbose=False)
