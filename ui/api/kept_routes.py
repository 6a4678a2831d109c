"""The routes of conversations that are kept, and what a client is told when they fail."""

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from chatbot.errors import StoreError
from chatbot.store import ChangedError
from ui.api.kept import KeptConversations, NoConversationError
from ui.api.schema import RequestError, check_new_conversation

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def add_conversations(app: FastAPI, kept: Callable[[], KeptConversations]) -> None:
    """The routes; none lists conversations, as an id is the right to read.

    Args:
        kept: the conversations, or raises RequestError where none are kept.
    """

    @app.post("/v1/conversations")
    async def begin(request: Request) -> Response:
        check_new_conversation(await request.body())
        return JSONResponse((await stored(kept().begin)).to_dict())

    @app.get("/v1/conversations/{name}")
    async def read(name: str) -> Response:
        return JSONResponse((await stored(kept().read, name)).to_dict())

    @app.delete("/v1/conversations/{name}")
    async def delete(name: str) -> Response:
        await stored(kept().delete, name)
        return JSONResponse({"id": name, "object": "conversation.deleted", "deleted": True})


async def stored(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the store gives, asked in a thread, since it waits for the disk.

    Raises:
        RequestError: there is no such conversation, it was changed, or its file fails.
    """
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except NoConversationError as error:
        raise RequestError(
            str(error), status=404, code="conversation_not_found", param="conversation"
        ) from error
    except ChangedError as error:
        raise RequestError(
            str(error), status=409, code="conversation_changed", param="conversation"
        ) from error
    except StoreError as error:
        log.error("the file of conversations fails: %s", error)
        raise RequestError(
            "the conversation could not be read or written; the log of the service says why",
            status=500, kind="server_error", code="store_failed",
        ) from error  # fmt: skip
