"""Knows how to load the bot beside a page or server that is starting already, and which."""

import threading
from concurrent.futures import Future
from typing import Annotated, Any

import typer

from chatbot import options

Model = Annotated[
    str | None,
    typer.Option(envvar="CHATBOT_MODEL", help="Model folder; the shipped one if left out."),
]
Device = Annotated[str, typer.Option(envvar="CHATBOT_DEVICE", help=options.DEVICE)]

Dtype = Annotated[
    str,
    typer.Option(
        envvar="CHATBOT_DTYPE",
        help=options.DTYPE,
    ),
]

Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        envvar="CHATBOT_COMPILE",
        help=options.COMPILE,
    ),
]


# Any: page and server each take the part of a `Chatbot` that they use, and a future is invariant.
def loading(
    model: str | None, device: str, dtype: str = "auto", *, compile: bool = False
) -> Future[Any]:
    """The bot, which a thread loads beside everything else, and warms up once it can be used."""
    bot: Future[Any] = Future()

    def load() -> None:
        try:
            from chatbot.bot import Chatbot
            from chatbot.console import quiet_libraries

            quiet_libraries()
            loaded = Chatbot.load(model, device=device, dtype=dtype, compile=compile)
        except BaseException as error:  # told where the result is waited for
            bot.set_exception(error)
            return
        bot.set_result(loaded)
        loaded.steerer.warm()

    # No daemon: the program would end under it, and torch in the middle of its work aborts.
    threading.Thread(target=load, name="loading").start()
    return bot
