"""How quick the chat page is in a real browser: first paint, stop, reload, and the usual presses.

    pip install -e ".[dev]"       # brings Playwright; Chromium has to be on the PATH
    python benchmarks/page.py [--model FOLDER] [--rounds 9] [--json OUT]

One process serves the page with the generator, the store in memory, and drives a headless
Chromium. Every round is a new visitor with an empty cache. Reported are medians and ranges, in
milliseconds. Times hold the whole way: browser, network stack, server, drawing. A paint is the one
that the browser tells of (`performance.getEntriesByType("paint")`); everything else ends when what
was asked for is in the page. After a stop, `pieces after the stop` counts the decoding steps that
were told of after the press had left the browser.
"""

import argparse
import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read when Gradio and torch are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from playwright.sync_api import Page, sync_playwright

from chatbot import Chatbot
from chatbot.store import Store
from chatbot.types import Progress, Reply
from ui.app import launch
from ui.handlers import Service
from ui.turns import Turns

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WAIT_MS = 120_000
MANY = 200

IDLE = "() => !document.querySelector('.thread.busy')"
REPLIES = f"n => document.querySelectorAll('.message.bot').length >= n && ({IDLE})()"


class TimedBot:
    """The bot, which notes when each of its decoding steps was told of.

    Attributes:
        pause_s: waited at every step, so that there is something to stop.
    """

    def __init__(self, bot: Chatbot):
        self._bot, self.steerer = bot, bot.steerer
        self.pause_s = 0.0
        self.steps: list[float] = []

    def respond(
        self, turns: Sequence[str], *, on_progress: Any, stop: threading.Event, **settings: Any
    ) -> Reply:
        """As `Chatbot.respond`."""

        def note(progress: Progress) -> None:
            self.steps.append(time.perf_counter())
            on_progress(progress)
            time.sleep(self.pause_s)

        return self._bot.respond(turns, on_progress=note, stop=stop, **settings)


def main() -> None:
    options = _options()
    bot = TimedBot(Chatbot.load(options.model, device=options.device))
    bot.steerer.warm()
    times: dict[str, list[float]] = {}
    print(f"load average before: {os.getloadavg()}", flush=True)
    with _served(bot) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        for number in range(-1, options.rounds):  # round -1 warms up
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            measured = visit(context.new_page(), url, bot)
            context.close()
            for name, value in measured.items() if number >= 0 else ():
                times.setdefault(name, []).append(value)
            told = {name: round(value) for name, value in measured.items()}
            print(f"round {number + 1} of {options.rounds}: {told}", flush=True)
        browser.close()
    for name, values in times.items():
        low, high = min(values), max(values)
        print(f"{name:32} {statistics.median(values):8.0f} [{low:.0f}-{high:.0f}]  n={len(values)}")
    print(f"load average after: {os.getloadavg()}")
    if options.json:
        Path(options.json).write_text(json.dumps(times, indent=1) + "\n")


def visit(page: Page, url: str, bot: TimedBot) -> dict[str, float]:
    """What one visitor waits for, in ms; "pieces after the stop" is a number."""
    page.set_default_timeout(WAIT_MS)
    took: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        took[name] = 1000 * (time.perf_counter() - begin)

    with timed("page usable"):
        page.goto(url)
        page.wait_for_selector("#conversation .empty h1")
    paints = "performance.getEntriesByType('paint').map(one => [one.name, one.startTime])"
    took |= dict(page.evaluate(paints))
    with timed("reply"):
        _send(page, "Hi! How was your day?")
        page.wait_for_function(REPLIES, arg=1)
    took["pieces after the stop"], took["stop"] = _stopped(page, bot)
    with timed("reload restores the chat"):
        page.reload()
        page.wait_for_selector("#conversation .message.bot")
    if page.locator("#right.open").count() == 0:
        page.click("#right .toggle-button")
    with timed("slider to its picture"):
        joy = page.get_by_label("number input for Joy", exact=True)
        joy.fill("0.5")
        joy.press("Tab")
        page.wait_for_selector("#mix :text('Joy 0.50')")
    with timed("open the inspector"):
        page.click(".message.bot [data-do=inspect]")
        page.wait_for_selector("#inspector .inspector")
    with timed("new chat"):
        page.click("#new")
        page.wait_for_selector("#conversation .empty")
    with timed("open a chat"):
        page.click("#chats .name")
        page.wait_for_selector("#conversation .message.bot")
    file = {"name": "chats.jsonl", "mimeType": "application/json", "buffer": _chats(MANY)}
    page.set_input_files("#exchange input[type=file]", file)
    page.wait_for_selector(f"#chats :text('Chats imported: {MANY}.')")
    with timed(f"reload with {MANY} chats"):
        page.reload()
        page.wait_for_selector("#conversation .message.bot")
    with timed(f"open one of {MANY} chats"):
        page.click("#chats .name >> nth=20")
        page.wait_for_selector("#chats .row:nth-child(21).open")
    return took


def _chats(count: int) -> bytes:
    """As many chats of six messages, to import."""
    said = [{"role": role, "content": f"What the {role} said"} for role in ("user", "assistant")]
    lines = [json.dumps({"title": f"Chat {n}", "messages": said * 3}) for n in range(count)]
    return "\n".join(lines).encode()


def _stopped(page: Page, bot: TimedBot) -> tuple[float, float]:
    """Decoding steps after the press on stop, and the ms from it until the page says so."""
    bot.steps.clear()
    bot.pause_s = 0.2
    try:
        _send(page, "Tell me everything that you did today.")
        page.wait_for_selector("#progress :text('token')")
        begin = time.perf_counter()
        page.click("#draft .stop-button")
        page.wait_for_selector("#status :text-is('Stopped.')")
        took_s = time.perf_counter() - begin
    finally:
        bot.pause_s = 0.0
    return float(sum(step > begin for step in bot.steps)), 1000 * took_s


def _send(page: Page, text: str) -> None:
    page.fill("#draft textarea", text)
    page.press("#draft textarea", "Enter")


@contextmanager
def _served(bot: TimedBot) -> Iterator[str]:
    loaded: Future[Any] = Future()
    loaded.set_result(bot)
    with Store.in_memory() as store:
        demo, url = launch(Service(Turns(loaded), store), host="127.0.0.1", port=None)
        yield url
        demo.close(verbose=False)


def _chromium() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("there is no chromium on the PATH; install the package chromium")
    return program


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of a generator; the shipped one if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="file for all single times")
    return parser.parse_args()


if __name__ == "__main__":
    main()
