"""A page with a tiny random bot behind it, and Debian's Chromium in front of it."""

import os
import shutil
import time
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

WAIT_MS = 60_000

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium on the PATH; install the package chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class SlowBot:
    """The bot, which can be made to wait at every token, or to fail there."""

    def __init__(self, bot):
        self._bot, self.steerer = bot, bot.steerer
        self._pause_s, self._error = 0.0, None

    @contextmanager
    def slow(self, pause_s=5.0):
        """Waits so long at every token; a stop ends the pause too, and so does the end of this."""
        self._pause_s = pause_s
        try:
            yield
        finally:
            self._pause_s = 0.0

    @contextmanager
    def failing(self, error):
        """Raises an error at the first token."""
        self._error = error
        try:
            yield
        finally:
            self._error = None

    def respond(self, turns, *, on_progress, stop, **settings):
        def slowly(progress):
            on_progress(progress)
            begun = time.monotonic()
            while time.monotonic() - begun < self._pause_s and not stop.is_set():
                stop.wait(0.02)
            if self._error is not None:
                raise self._error

        return self._bot.respond(turns, on_progress=slowly, stop=stop, **settings)


@pytest.fixture(scope="session")
def slow_bot(tiny_bot):
    return SlowBot(tiny_bot)


@pytest.fixture(scope="session")
def address(slow_bot):
    """Where the page is served."""
    from chatbot.store import Store
    from ui.app import launch
    from ui.handlers import Service
    from ui.turns import Turns

    loaded = Future()
    loaded.set_result(slow_bot)
    with Store.in_memory() as store:
        demo, url = launch(Service(Turns(loaded), store), host="127.0.0.1", port=None)
        yield url
        demo.close(verbose=False)


class Visit:
    """One visitor's window: what a person does, in their words."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.outside, self.errors = [], []
        page.set_default_timeout(WAIT_MS)
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))
        self.arrive()

    def _note(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.outside.append(request.url)

    def arrive(self):
        self.page.goto(self.address)
        self.page.wait_for_selector("#conversation .empty h1, #conversation .message")
        # The settings come last; the pictures of the panel with them.
        self.page.wait_for_selector("#mix .mix", state="attached")

    def say(self, text):
        said = self.page.locator("#conversation .message.bot").count()
        self.send(text)
        self.replied(said + 1)

    def send(self, text):
        self.page.fill("#draft textarea", text)
        self.page.press("#draft textarea", "Enter")

    def replied(self, count):
        self.page.wait_for_function(
            "count => document.querySelectorAll('#conversation .message.bot').length >= count"
            " && !document.querySelector('.thread.busy')",
            arg=count,
        )

    def words(self):
        return self.page.locator("#conversation .message .words").all_inner_texts()

    def set(self, name, value):
        """A slider by its number."""
        box = self.page.get_by_label(f"number input for {name}", exact=True)
        box.fill(str(value))
        box.press("Tab")

    def tab(self, name):
        self.page.click(f"#right button[role=tab]:has-text('{name}')")


@pytest.fixture
def visit(chromium, address):
    """Opens windows, each of a visitor of its own."""
    contexts = []

    def visit(width=1400, height=900, locale="en-US", **kind):
        size = {"width": width, "height": height}
        contexts.append(chromium.new_context(viewport=size, locale=locale, **kind))
        return Visit(contexts[-1].new_page(), address)

    yield visit
    for context in contexts:
        context.close()
