"""The HTTP service: routes, who may ask, what is refused before it costs anything.

A request holds its whole conversation and nothing of it is kept, unless it names a conversation
that the client had begun. Knows nothing of the model: replies come from a `Batcher`.
"""

import asyncio
import hmac
import json
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import Progress, Reply
from ui.api.batching import BatchBot, Batcher, Job, QueueFullError
from ui.api.kept import KeptConversations
from ui.api.kept_routes import add_conversations, stored
from ui.api.metrics import CONTENT_TYPE, Metrics
from ui.api.schema import (
    Asked,
    Limits,
    RequestError,
    answer_of,
    beside,
    choices_of,
    chunk,
    completion_of,
    parsed,
    read_request,
    usage_chunk,
    usage_of,
)
from ui.turns import Steerer

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 5.0
"""A stream that has nothing to tell says so after this long, so that no proxy closes it."""


class Placed(Protocol):
    """A generator that lies on a device."""

    @property
    def device(self) -> "torch.device": ...


class ServedBot(BatchBot, Protocol):
    """What is served: `chatbot.Chatbot`, or a scripted one in tests."""

    def check(self, controls: Controls, /) -> None: ...

    @property
    def steerer(self) -> Steerer: ...

    @property
    def backbone(self) -> Placed: ...


@dataclass(frozen=True, slots=True)
class Serving:
    """How the service treats its clients.

    Attributes:
        api_key: asked for as `Authorization: Bearer KEY`; None lets everybody in.
        max_body: bytes of a request.
        max_queue: requests that may wait; more are answered with 429.
        workers: batches answered at a time; None for two on a processor, one on a GPU.
        max_batch: conversations answered together.
        batch_window_s: a batch that is not full waits so long for others to join.
        limits: what one request may ask for.
    """

    api_key: str | None = field(default=None, repr=False)
    max_body: int = 1 << 20
    max_queue: int = 64
    workers: int | None = None
    max_batch: int = 8
    batch_window_s: float = 0.015
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.api_key is not None and not self.api_key.strip():
            raise InputError("the API key is empty; give one, or leave the option out")
        for name, value, least in (
            ("max_body", self.max_body, 1), ("max_queue", self.max_queue, 1),
            ("workers", 1 if self.workers is None else self.workers, 1),
            ("max_batch", self.max_batch, 1), ("batch_window_s", self.batch_window_s, 0),
        ):  # fmt: skip
            if not least <= value < math.inf:
                raise InputError(f"{name} is {value}; give a number from {least}")


class Service:
    """The bot behind the routes, which may still be loading.

    Args:
        bot: to come.
        model: the name it is served by.
        kept: conversations that clients may ask to be kept; None keeps none. Closed with it.
    """

    def __init__(
        self,
        bot: "Future[ServedBot]",
        model: str,
        serving: Serving,
        kept: KeptConversations | None = None,
    ):
        self.model = model
        self.serving = serving
        self._kept = kept
        self.metrics = Metrics(lambda: self.batcher.depth if self.batcher else 0)
        self.batcher: Batcher | None = None
        self.bot: ServedBot | None = None
        self.started_at = int(time.time())
        self.loading = bot
        bot.add_done_callback(self._begin)

    @property
    def problem(self) -> str | None:
        """Why no request can be answered yet, or any more; None when all is well."""
        if not self.loading.done():
            return "the model is loading; try again in some seconds"
        if self.loading.cancelled() or self.loading.exception() is not None:
            return "the model could not be loaded; the log of the service says why"
        if self.batcher is None or not self.batcher.is_alive:
            return "the service is ending"
        return None

    @property
    def kept(self) -> KeptConversations:
        """The stored conversations.

        Raises:
            RequestError: this service keeps none.
        """
        if self._kept is None:
            raise RequestError(
                "this service keeps no conversations: send all messages with every request, or "
                "start it with --store FILE",
                code="no_store", param="conversation",
            )  # fmt: skip
        return self._kept

    async def read(self, body: bytes) -> Asked:
        """The request of a body, with the stored conversation that it names.

        Raises:
            RequestError: it cannot be answered.
        """
        if self.problem is not None or self.bot is None:
            raise RequestError(
                self.problem or "the service is ending", status=503, kind="server_error",
                code="not_ready", retry_after_s=5,
            )  # fmt: skip
        request, kept = parsed(body), None
        if request.conversation is not None:
            kept = await stored(self.kept.read, request.conversation)
        return read_request(
            request, kept, model=self.model, limits=self.serving.limits, check=self.bot.check
        )

    async def keep(self, asked: Asked, reply: Reply) -> Asked:
        """Writes the turn down where it is of a stored conversation; gives what to tell of it.

        Raises:
            RequestError: it could not be written.
        """
        if asked.kept is None:
            return asked
        said = (*asked.said, ("bot", answer_of(reply, asked)))
        await stored(self.kept.add_turn, asked.kept, said, reply)
        notice = self.kept.notice
        return asked if notice is None else replace(asked, notes=(*asked.notes, notice))

    def submit(self, asked: Asked, on_progress: Callable[[Progress], None] | None) -> Job:
        """Puts the request in the queue.

        Raises:
            RequestError: it is full.
        """
        assert self.batcher is not None  # `read` came before
        job = Job(
            asked.turns, asked.controls, sampling=asked.sampling, ranking=asked.ranking,
            on_progress=_first(self._first_token(time.perf_counter()), on_progress),
        )  # fmt: skip
        if asked.seed is not None:
            job.seed = asked.seed
        try:
            self.batcher.submit(job)
        except QueueFullError as error:
            self.metrics.turns.add(label="queue_full")
            raise RequestError(
                str(error), status=429, kind="rate_limit_error", code="queue_full",
                retry_after_s=error.retry_after_s,
            ) from error  # fmt: skip
        return job

    def count(self, reply: Reply, seconds: float) -> None:
        """Takes a finished reply into the metrics."""
        self.metrics.turns.add(label="replied")
        self.metrics.turn_seconds.observe(seconds)
        self.metrics.tokens.add(sum(len(one.token_ids) for one in reply.candidates))
        for one in reply.candidates:
            if one.dropped is not None:
                self.metrics.dropped.add(label=one.dropped)

    def close(self) -> None:
        """Cancels what is asked and ends the threads."""
        if self.batcher is not None:
            self.batcher.close()
        if self._kept is not None:
            self._kept.close()

    def _begin(self, loaded: "Future[ServedBot]") -> None:
        if loaded.cancelled() or loaded.exception() is not None:
            return
        self.bot = loaded.result()
        workers, share_threads = _shared(self.bot, self.serving.workers)
        self.batcher = Batcher(
            self.bot,
            workers=workers,
            before_batch=share_threads,
            max_batch=self.serving.max_batch,
            window_s=self.serving.batch_window_s,
            max_waiting=self.serving.max_queue,
            on_batch=self._count_batch,
        )

    def _count_batch(self, size: int, seconds: float) -> None:
        self.metrics.batch_size.observe(size)
        self.metrics.batch_seconds.observe(seconds)

    def _first_token(self, begin: float) -> Callable[[Progress], None]:
        def tell(progress: Progress) -> None:
            if progress.tokens == 1:
                self.metrics.first_token_seconds.observe(time.perf_counter() - begin)

        return tell


def build(service: Service) -> FastAPI:
    """The application; closing it closes the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    # No pages of its own: those of FastAPI fetch scripts from elsewhere.
    app = FastAPI(
        title="Controllable chatbot", lifespan=lifespan, openapi_url=None, docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    app.add_middleware(_Gate, service=service)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)

    @app.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz() -> Response:
        problem = service.problem
        return PlainTextResponse(f"{problem or 'ready'}\n", status_code=503 if problem else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(service)]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name != service.model:
            raise RequestError(
                f"the model {name!r:.80} is not served; there is {service.model!r}",
                status=404, code="model_not_found", param="model",
            )  # fmt: skip
        return JSONResponse(_model(service))

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = await service.read(await request.body())
        answer_id = f"chatcmpl-{secrets.token_hex(12)}"
        if not asked.is_streamed:
            reply = await _reply(service, asked, request)
            asked = await service.keep(asked, reply)
            return JSONResponse(completion_of(answer_id, service.model, reply, asked))
        stream = _Stream(service, asked, answer_id)
        return StreamingResponse(
            stream.parts(),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    add_conversations(app, lambda: service.kept)
    return app


async def _reply(service: Service, asked: Asked, request: Request) -> Reply:
    """The reply; when the client goes, its job is cancelled."""
    begin = time.perf_counter()
    job = service.submit(asked, None)
    reply = asyncio.wrap_future(job.reply)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    try:
        waited_for: set[asyncio.Future[Any]] = {reply, gone}
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            raise ClientDisconnect
        drawn = reply.result()
    except asyncio.CancelledError:
        if job.reply.cancelled() and not _is_being_cancelled():
            raise _ending() from None
        raise
    except ClientDisconnect:
        service.metrics.turns.add(label="client_gone")
        raise
    except Exception as error:
        service.metrics.turns.add(label="failed")
        raise _as_request_error(error) from error
    finally:
        job.cancel()
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    service.count(drawn, time.perf_counter() - begin)
    return drawn


class _Stream:
    """A reply as server-sent events.

    What is drawn is told in comments, as the reply is known only after the ranking; then its words
    follow. The request is in the queue before the first byte, so that a full queue is a status.
    """

    def __init__(self, service: Service, asked: Asked, answer_id: str):
        self._service = service
        self._asked = asked
        self._id = answer_id
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Event = asyncio.Event()
        self._progress: Progress | None = None
        self._begin = time.perf_counter()
        self._job = service.submit(asked, self._step)
        self._job.reply.add_done_callback(lambda _: self._wake())

    async def parts(self) -> AsyncIterator[str]:
        """The events; closing them cancels the reply."""
        outcome = "client_gone"
        try:
            yield self._delta(0, {"role": "assistant", "content": ""})
            async for comment in self._comments():
                yield comment
            try:
                reply = self._job.reply.result()
                self._asked = await self._service.keep(self._asked, reply)
            except CancelledError:
                outcome = "failed"
                yield _event(_ending().to_dict())
            except Exception as error:
                outcome = "failed"
                yield _event(_as_request_error(error).to_dict())
            else:
                for part in self._answer(reply):
                    yield part
                outcome = ""
                self._service.count(reply, time.perf_counter() - self._begin)
            yield "data: [DONE]\n\n"
        finally:
            self._job.cancel()
            if outcome:
                self._service.metrics.turns.add(label=outcome)

    async def _comments(self) -> AsyncIterator[str]:
        """What happens until the reply is there."""
        while not self._job.reply.done():
            try:
                await asyncio.wait_for(self._news.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield ": waiting\n\n"
                continue
            self._news.clear()
            if self._progress is not None and not self._job.reply.done():
                yield f": {self._progress.candidates} candidates, token {self._progress.tokens}\n\n"

    def _answer(self, reply: Reply) -> list[str]:
        """The words of every choice, then how it ended, then what is beside it."""
        choices = choices_of(reply, self._asked)
        parts = []
        for index, choice in enumerate(choices):
            if index:
                parts.append(self._delta(index, {"role": "assistant", "content": ""}))
            parts += [self._delta(index, {"content": word}) for word in _words(choice.text)]
            end = chunk(
                self._id, self._service.model, index=index, delta={},
                finish_reason=choice.finish_reason,
            )  # fmt: skip
            is_last = index == len(choices) - 1
            parts.append(_event(end | beside(reply, self._asked) if is_last else end))
        if self._asked.with_usage:
            usage = usage_of(reply, choices)
            parts.append(_event(usage_chunk(self._id, self._service.model, usage)))
        return parts

    def _delta(self, index: int, delta: dict[str, str]) -> str:
        return _event(chunk(self._id, self._service.model, index=index, delta=delta))

    def _step(self, progress: Progress) -> None:
        self._progress = progress
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads
            self._loop.call_soon_threadsafe(self._news.set)


class _Gate:
    """Refuses what is too large or has no key, before a route is called, and counts all answers."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, self._counting(send))
            return
        send = self._counting(send)
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._without_key(headers) or self._too_large(headers.get(b"content-length"))
        if refusal is not None:
            await _response(refusal)(scope, receive, send)
            return
        # Without a length, or with a false one, what comes is counted.
        limited = _Limited(receive, self._service.serving.max_body)
        try:
            await self._app(scope, limited, send)
        except ClientDisconnect:
            log.info("a client went before it was answered")

    def _without_key(self, headers: Mapping[bytes, bytes]) -> RequestError | None:
        key = self._service.serving.api_key
        if key is None:
            return None
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
        if hmac.compare_digest(given, key.encode()):
            return None
        return RequestError(
            "the API key is missing or wrong; send it as `Authorization: Bearer KEY`",
            status=401, kind="authentication_error", code="invalid_api_key",
        )  # fmt: skip

    def _too_large(self, length: bytes | None) -> RequestError | None:
        most = self._service.serving.max_body
        if length is None or not length.isdigit() or int(length[:20]) <= most:
            return None
        return _body_too_large(most)

    def _counting(self, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._service.metrics.requests.add(label=str(message["status"]))
            await send(message)

        return counted


class _Limited:
    """The body of a request, ended with an error where it grows too large."""

    def __init__(self, receive: Receive, most: int):
        self._receive = receive
        self._most = most
        self._read = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise _body_too_large(self._most)
        return message


def _shared(bot: ServedBot, workers: int | None) -> tuple[int, Callable[[int], None] | None]:
    """How many workers there are, and what gives one its part of the processor's threads.

    A worker that is alone has all of them.
    """
    if bot.backbone.device.type != "cpu":
        return workers or 1, None
    import torch

    n_threads = torch.get_num_threads()

    def share(busy: int) -> None:
        torch.set_num_threads(max(1, n_threads // busy))  # those of the thread that calls

    return workers or min(2, n_threads), share


async def _disconnected(receive: Callable[[], Awaitable[Message]]) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):  # of a route that there is none of
        error = RequestError(
            f"{error.detail}; there are POST /v1/chat/completions, GET /v1/models and "
            "/v1/conversations",
            status=error.status_code, code="not_found" if error.status_code == 404 else None,
        )  # fmt: skip
    return _response(_as_request_error(error))


async def _failed(_: Request, error: Exception) -> Response:
    return _response(_as_request_error(error))


def _as_request_error(error: Exception) -> RequestError:
    """What a client is told of an error: of ours everything, of others only that there was one."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InputError):
        return RequestError(str(error))
    log.error("a request failed", exc_info=error)
    return RequestError(
        "the reply could not be made; the log of the service says why",
        status=500, kind="server_error", code="internal_error",
    )  # fmt: skip


def _response(error: RequestError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return JSONResponse(error.to_dict(), status_code=error.status, headers=headers)


def _body_too_large(most: int) -> RequestError:
    return RequestError(
        f"the request has more than {most} bytes; leave out old messages",
        status=413, code="request_too_large",
    )  # fmt: skip


def _ending() -> RequestError:
    return RequestError(
        "the service is ending; try again", status=503, kind="server_error", code="not_ready",
        retry_after_s=5,
    )  # fmt: skip


def _is_being_cancelled() -> bool:
    """Whether the task that runs is cancelled from outside, not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.model,
        "object": "model",
        "created": service.started_at,
        "owned_by": "controllable-chatbot",
    }


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"


def _words(text: str) -> list[str]:
    """The text in words, each with the space before it; joined they are the text."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])] if text else []


def _first(
    one: Callable[[Progress], None], other: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    def both(progress: Progress) -> None:
        one(progress)
        if other is not None:
            other(progress)

    return both
