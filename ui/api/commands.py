"""The command `chatbot serve`."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.errors import InputError
from ui.listening import address_of, listen, port_of
from ui.loading import Compile, Device, Dtype, Model, loading

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chatbot.store import Store
    from ui.api.kept import KeptConversations
    from ui.api.server import ServedBot, Service, Serving

app = typer.Typer(name="serve", help="The HTTP API.")

SHIPPED_NAME = "meena"
"""The shipped model, as clients name it."""


class Engine(StrEnum):
    """Where replies are made."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class Page:
    """The chat page beside the API.

    Attributes:
        data: file of the chats, ":memory:" for none; None for the usual place.
        keep_days: older chats are deleted at the start; None keeps all.
    """

    data: str | None
    keep_days: float | None


@app.callback(invoke_without_command=True)
def serve(
    host: Annotated[
        str,
        typer.Option(
            envvar="CHATBOT_HOST", help="Address to listen at; 0.0.0.0 lets other machines in."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar="CHATBOT_PORT", min=0, max=65535, help="To listen at; 0 for any free one."
        ),
    ] = 8000,
    model: Model = None,
    name: Annotated[
        str | None,
        typer.Option(envvar="CHATBOT_MODEL_NAME", help="The model's name for clients."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="CHATBOT_API_KEY",
            help="Asked of every client of /v1; better given in the environment, as others on "
            "this machine can read command lines.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="CHATBOT_WORKERS", min=1,
            help="Batches answered at a time, which share the processor; if left out, 2, on a GPU "
            "1.",
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(envvar="CHATBOT_MAX_BATCH", min=1, help="Conversations answered together."),
    ] = 8,
    batch_window_ms: Annotated[
        float,
        typer.Option(
            envvar="CHATBOT_BATCH_WINDOW_MS", min=0, max=10_000,
            help="A batch that is not full waits so long for others to join.",
        ),
    ] = 15.0,
    max_queue: Annotated[
        int,
        typer.Option(
            envvar="CHATBOT_MAX_QUEUE", min=1,
            help="Requests that may wait; more are answered with status 429.",
        ),
    ] = 64,
    max_body_kb: Annotated[
        int, typer.Option(envvar="CHATBOT_MAX_BODY_KB", min=1, help="Of a request, in KiB.")
    ] = 1024,
    max_messages: Annotated[
        int, typer.Option(envvar="CHATBOT_MAX_MESSAGES", min=1, help="Of a conversation.")
    ] = 256,
    max_candidates: Annotated[
        int, typer.Option(envvar="CHATBOT_MAX_CANDIDATES", min=1, help="Drawn for a reply.")
    ] = 64,
    ui: Annotated[
        bool, typer.Option("--ui", envvar="CHATBOT_UI", help="Show the chat page at /ui too.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="CHATBOT_DATA", metavar="FILE",
            help="With --ui: where chats are kept; :memory: forgets them at the end. If left out: "
            "where `chatbot ui` keeps them.",
        ),
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option(
            envvar="CHATBOT_KEEP_DAYS", min=0,
            help="With --ui or --store: delete, at the start, chats not written to for so long.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="CHATBOT_STORE", metavar="FILE",
            help="Let clients keep conversations here; :memory: forgets them at the end. If left "
            "out, none is kept.",
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(envvar="CHATBOT_ENGINE", help="ray: several replicas, by Ray Serve."),
    ] = Engine.LOCAL,
    replicas: Annotated[
        int, typer.Option(envvar="CHATBOT_REPLICAS", min=1, help="With --engine ray.")
    ] = 1,
) -> None:  # fmt: skip
    """Serve replies over HTTP, as OpenAI's clients expect them.

    Every option can be given in the environment, too; what is given here comes first.
    """
    from ui.api.schema import Limits
    from ui.api.server import Serving

    serving = Serving(
        api_key=api_key,
        max_body=max_body_kb * 1024,
        max_queue=max_queue,
        workers=workers,
        max_batch=max_batch,
        batch_window_s=batch_window_ms / 1000,
        limits=Limits(max_messages, max_candidates),
    )
    load = partial(loading, model, device, dtype, compile=compile)
    name = name or (SHIPPED_NAME if model is None else Path(model).name)
    if engine is Engine.RAY:
        if ui:
            raise InputError(
                "the chat page keeps a visitor's state in one process, which replicas are not; "
                "leave out --ui, and run `chatbot ui` beside it"
            )
        if port == 0:
            raise InputError("every machine listens at the same port; give another --port than 0")
        from ui.api.scale import Replica, serve_on_ray

        if store is not None:
            _open(store, keep_days, is_shared=True).close()  # what is wrong with it is told here
        replica = Replica(serving, name, load, store, n_gpus=int(device.startswith("cuda")))
        serve_on_ray(replica, host=host, port=port, replicas=replicas)
        return
    if replicas != 1:
        raise InputError(f"replicas is {replicas}; more than one need --engine ray")
    page = Page(data, keep_days) if ui else None
    kept = None if store is None else _open(store, keep_days)
    _serve_here(serving, name, load, host, port, kept, page)


def _open(store: str, keep_days: float | None, *, is_shared: bool = False) -> "KeptConversations":
    """The conversations of a file, but for old ones."""
    from ui.api.kept import KeptConversations

    kept = KeptConversations(store, is_shared=is_shared)
    if kept.notice is not None:
        typer.echo(kept.notice, err=True)
    elif keep_days is not None:
        kept.delete_older(keep_days)
    return kept


def _serve_here(
    serving: "Serving",
    name: str,
    load: Callable[[], "Future[ServedBot]"],
    host: str,
    port: int,
    kept: "KeptConversations | None",
    page: Page | None,
) -> None:
    """Listens at once; requests are answered when the model has been loaded."""
    listener = listen(host, port)
    typer.echo("Starting ...", err=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    import uvicorn

    from ui.api.server import Service, build

    if page is not None:
        import gradio  # noqa: F401  # before a second thread imports: modules can be met half-made
    bot = load()
    service = Service(bot, name, serving, kept)
    app = build(service)
    address = address_of(host, port_of(listener))
    with ExitStack() as stack:
        if page is not None:
            store = stack.enter_context(mount_page(app, service, page.data))
            if page.keep_days is not None:
                store.delete_older(page.keep_days)
            typer.echo(f"The chat page: {address}/ui", err=True)
        bot.add_done_callback(_tell_loaded)
        key = ", with the API key" if serving.api_key else ""
        typer.echo(f"The API: {address}/v1, model {name!r}{key}. Ctrl-C ends.", err=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def mount_page(app: "FastAPI", service: "Service", data: str | None) -> "Store":
    """Shows the chat page at /ui, answered by the same batches as the API; gives its chats.

    Args:
        data: file of the chats, ":memory:" for none; None for the usual place.
    """
    import gradio as gr
    from fastapi.responses import RedirectResponse

    from chatbot.presets import list_presets
    from chatbot.store import Store
    from chatbot.types import Sampling
    from ui import app as page
    from ui.api.batching import MOST_ROWS, BatchedBot
    from ui.handlers import Service as PageService
    from ui.turns import Bot, Turns

    batched: Future[Bot] = Future()

    def begin(loaded: "Future[ServedBot]") -> None:
        if loaded.exception() is not None:
            batched.set_exception(loaded.exception())
        else:
            assert service.batcher is not None  # made by the callback that was added first
            batched.set_result(BatchedBot(service.batcher, loaded.result().steerer))

    service.loading.add_done_callback(begin)
    store = Store.named(data, or_memory=True)
    turns = Turns(batched, at_once=MOST_ROWS // Sampling().candidates)
    demo = page.build(PageService(turns, store, presets=list_presets()))
    gr.mount_gradio_app(
        app, demo.queue(max_size=64), path="/ui", server_name="127.0.0.1", footer_links=[],
        run_history=False, show_error=True, max_file_size="64mb", ssr_mode=False,
        enable_monitoring=False, **page.look(),
    )  # fmt: skip

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/ui/")

    return store


def _tell_loaded(bot: "Future[ServedBot]") -> None:
    error = bot.exception()
    told = "The model is ready." if error is None else f"The model cannot be loaded: {error}"
    typer.echo(told, err=True)


def main() -> None:
    """Runs the command alone."""
    app()


if __name__ == "__main__":
    main()
