"""The service behind a real server on loopback, with the tiny bot, and the real client."""

import contextlib
import threading
import time
from concurrent.futures import Future

import httpx
import openai
import pytest
import uvicorn

from ui.api.kept import KeptConversations
from ui.api.server import Service, Serving, build


def loaded(bot):
    future = Future()
    future.set_result(bot)
    return future


class Served:
    """A running service.

    Attributes:
        url: without a slash at the end.
        service: behind it.
    """

    def __init__(self, bot, serving=None, mount=None, kept=None):
        future = bot if isinstance(bot, Future) else loaded(bot)
        self.service = Service(future, "tiny", serving or Serving(), kept)
        app = build(self.service)
        if mount is not None:
            mount(app, self.service)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="error", lifespan="on",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        end = time.monotonic() + 10
        while not self._server.started and time.monotonic() < end:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def client(self, **settings):
        """OpenAI's client; it does not try again unless told to."""
        given = {"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0} | settings
        return openai.OpenAI(**given)

    def post(self, body, **settings):
        """The answer to a body that the client would not send."""
        given = ({"content": body} if isinstance(body, bytes) else {"json": body}) | settings
        return httpx.post(f"{self.url}/v1/chat/completions", timeout=30, **given)

    def metric(self, name):
        """The value of a line of /metrics."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0)

    def close(self):
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def serve():
    """Starts a service; ends it after the test."""
    with contextlib.ExitStack() as stack:

        def start(bot, mount=None, kept=None, **settings):
            served = Served(bot, Serving(**settings), mount, kept)
            stack.callback(served.close)
            return served

        yield start


@pytest.fixture(scope="module")
def served(tiny_bot):
    running = Served(tiny_bot, kept=KeptConversations(":memory:"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def client(served):
    with served.client() as client:
        yield client
