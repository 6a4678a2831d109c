"""The `chatbot` command: talk in the terminal, answer one message, and find the other commands.

Sub-commands of other packages (`train`, `eval`, `ui`, ...) are found through the entry-point group
`chatbot.commands`, so that this package imports none that stand above it. Heavy imports wait
until a command runs.
"""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot import options
from chatbot.bot import check_seed
from chatbot.controls import Controls
from chatbot.errors import ChatbotError, InputError
from chatbot.types import Progress, Ranking, Sampling

if TYPE_CHECKING:
    from chatbot.bot import Chatbot, Conversation

app = typer.Typer(
    help="A controllable dialogue chatbot.", no_args_is_help=True, pretty_exceptions_enable=False
)

Model = Annotated[
    str | None,
    typer.Option(help="Model folder or hub name, @ and a revision behind it; else the shipped."),
]
PromptFormat = Annotated[
    str | None, typer.Option(help="How conversations are written; what the model has if left out.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pickled weights where there are no others.")
]
Device = Annotated[str, typer.Option(help=options.DEVICE)]
Dtype = Annotated[str, typer.Option(help=options.DTYPE)]
Compile = Annotated[bool, typer.Option("--compile", help=options.COMPILE)]
Seed = Annotated[int | None, typer.Option(help="Repeats a reply; drawn anew if left out.")]
Candidates = Annotated[int, typer.Option(help="Replies drawn, of which the best is given.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest piece every time.")]
TopK = Annotated[int, typer.Option(help="Draw from the k likeliest pieces only; 0: all.")]
TopP = Annotated[float, typer.Option(help="Draw from the likeliest share of pieces only.")]
MaxNewTokens = Annotated[int, typer.Option(help="Longest reply in pieces.")]
ControlsText = Annotated[
    str, typer.Option("--controls", help="Attributes and strengths, such as joy=.5,game=.3.")
]
Bags = Annotated[
    list[Path], typer.Option("--bag", help="A word list of your own; its name is the attribute.")
]
Guarded = Annotated[
    bool, typer.Option("--guarded/--unguarded", help="With the topic rules and ethics filter.")
]
Novelty = Annotated[float, typer.Option(help="Weight against replies that fit anything.")]
Coherence = Annotated[float, typer.Option(help="Weight of how well a reply answers.")]

_SAMPLING, _RANKING = Sampling(), Ranking()


def main() -> None:
    """Runs the command line; bad input ends with code 2 and one line that says what to do."""
    # Waiting threads that spin make a step tens of times slower where another process is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for point in entry_points(group="chatbot.commands"):
        app.add_typer(point.load(), name=point.name)
    try:
        app()
    except ChatbotError as error:
        typer.echo(f"chatbot: {error}", err=True)
        sys.exit(2)


@app.command()
def respond(
    text: Annotated[list[str], typer.Argument(help="Turns, oldest first; the last is yours.")],
    controls: ControlsText = "",
    bag: Bags = [],  # noqa: B006  # typer copies it
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole reply.")] = False,
    model: Model = None,
    prompt_format: PromptFormat = None,
    allow_pickle: AllowPickle = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
    coherence: Coherence = _RANKING.coherence,
    guarded: Guarded = True,
) -> None:
    """Answer one message, or a conversation given turn by turn."""
    sampling = Sampling(candidates, temperature, top_k, top_p, max_new_tokens)
    ranking = Ranking(novelty=novelty, coherence=coherence)
    asked = Controls.parse(controls)
    if seed is not None:
        check_seed(seed)
    bot = _load(
        model, device, bag, dtype=dtype, guarded=guarded, prompt_format=prompt_format,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    reply = bot.respond(text, controls=asked, seed=seed, sampling=sampling, ranking=ranking)
    if as_json:
        typer.echo(json.dumps(reply.to_dict(), ensure_ascii=False, indent=1))
    else:
        typer.echo(reply.text)


@app.command()
def chat(
    controls: ControlsText = "",
    bag: Bags = [],  # noqa: B006  # typer copies it
    seed: Seed = None,
    model: Model = None,
    prompt_format: PromptFormat = None,
    allow_pickle: AllowPickle = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    candidates: Candidates = _SAMPLING.candidates,
    temperature: Temperature = _SAMPLING.temperature,
    top_k: TopK = _SAMPLING.top_k,
    top_p: TopP = _SAMPLING.top_p,
    max_new_tokens: MaxNewTokens = _SAMPLING.max_new_tokens,
    novelty: Novelty = _RANKING.novelty,
    coherence: Coherence = _RANKING.coherence,
    guarded: Guarded = True,
) -> None:
    """Talk with the bot in the terminal."""
    sampling = Sampling(candidates, temperature, top_k, top_p, max_new_tokens)
    asked = Controls.parse(controls)
    if seed is not None:
        check_seed(seed)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a broken byte does not end the chat
    typer.echo("Loading the bot ...", err=True)
    bot = _load(
        model, device, bag, dtype=dtype, guarded=guarded, prompt_format=prompt_format,
        allow_pickle=allow_pickle, compile=compile,
    )  # fmt: skip
    bot.check(asked)
    conversation = bot.conversation(
        controls=asked, sampling=sampling, ranking=Ranking(novelty=novelty, coherence=coherence)
    )
    typer.echo(_CHAT_HELP)
    TerminalChat(conversation, seed).run()


@app.command()
def doctor(
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    prompt_format: PromptFormat = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Try a model out from end to end, and say what works; exit code 1 where something does not."""
    from chatbot.backbone import Backbone
    from chatbot.console import quiet_libraries
    from chatbot.doctor import examine

    quiet_libraries()
    marks = {True: "ok", False: "FAILED", None: ""}
    failed = 0

    def load() -> Backbone:
        return Backbone.load(
            model, device=device, dtype=dtype, prompt_format=prompt_format,
            allow_pickle=allow_pickle,
        )  # fmt: skip

    for check in examine(load):
        failed += check.is_fine is False
        typer.echo(f"{check.name:14} {marks[check.is_fine]:7} {check.told}")
    if failed:
        raise typer.Exit(1)


_CHAT_HELP = """\
Type a message and press Enter.
  /reset       begin a new conversation      /history     show it
  /seed 7      fix the seed, /seed frees it  /save FILE   write it as JSON
  /controls joy=.5,game=.3   steer the replies; /controls alone lets them be
  /quit        leave (or Ctrl-D)             Ctrl-C       stop the reply, keep the chat"""


class TerminalChat:
    """A conversation at the prompt; commands begin with a slash."""

    def __init__(self, conversation: "Conversation", seed: int | None = None):
        self.conversation = conversation
        self.seed = seed

    def run(self) -> None:
        """Reads lines until /quit or the end of input."""
        unanswered = ""
        while (line := _read_line(unanswered)) is not None:
            unanswered = ""
            text = line.strip()
            if text.startswith("/"):
                if not self.command(text):
                    return
            elif text:
                unanswered = "" if self.answer(text) else text

    def answer(self, text: str) -> bool:
        """Prints the reply; False when it was stopped or failed and `text` is still unanswered."""
        with _ctrl_c() as stop:
            try:
                reply = self.conversation.say(
                    text, seed=self.seed, on_progress=_show_progress, stop=stop
                )
            except InputError as error:
                typer.echo(f"{error}", err=True)
                return False
            finally:
                _clear_progress()
        if reply.stopped:
            typer.echo("(stopped; your message is at the prompt again)", err=True)
            return False
        typer.echo(f"bot> {reply.text}")
        for note in reply.trace.notes:
            typer.echo(f"     ({note})", err=True)
        return True

    def command(self, line: str) -> bool:
        """Carries out a slash command; False to leave."""
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        match name:
            case "/quit" | "/exit":
                return False
            case "/reset":
                self.conversation.reset()
                typer.echo("A new conversation.")
            case "/history" if not self.conversation.turns:
                typer.echo("Nothing was said yet.")
            case "/history":
                for place, turn in enumerate(self.conversation.turns):
                    typer.echo(f"{'bot' if place % 2 else 'you'}> {turn}")
            case "/seed":
                self._set_seed(argument)
            case "/controls":
                self._set_controls(argument)
            case "/save":
                self._save(argument)
            case _:
                typer.echo(_CHAT_HELP)
        return True

    def _set_seed(self, argument: str) -> None:
        if not argument:
            self.seed = None
            typer.echo("Every reply draws a new seed.")
            return
        try:
            seed = int(argument)
            check_seed(seed)
        except (ValueError, InputError):
            typer.echo(f"{argument!r:.50} is no seed; give a whole number, such as /seed 7")
            return
        self.seed = seed
        typer.echo(f"Every reply uses seed {seed}.")

    def _set_controls(self, argument: str) -> None:
        try:
            controls = Controls.parse(argument)
            self.conversation.bot.check(controls)
        except InputError as error:
            typer.echo(f"{error}")
            return
        self.conversation.controls = controls
        asked = ", ".join(f"{name} {value:g}" for name, value in controls.strengths.items())
        typer.echo(f"From now on: {asked}." if asked else "The replies are not steered.")

    def _save(self, argument: str) -> None:
        if not argument:
            typer.echo("Give a file name, such as /save chat.json")
            return
        record = {
            "turns": self.conversation.turns,
            "replies": [reply.to_dict() for reply in self.conversation.replies],
        }
        try:
            Path(argument).expanduser().write_text(
                json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
            )
        except (OSError, ValueError, RuntimeError) as error:  # the latter two: no possible name
            typer.echo(f"could not write {argument}: {error}; give another file name")
        else:
            typer.echo(f"Saved {len(self.conversation.turns)} turns to {argument}.")


def _load(
    model: str | None,
    device: str,
    bags: Sequence[Path],
    *,
    dtype: str,
    guarded: bool,
    prompt_format: str | None,
    allow_pickle: bool,
    compile: bool = False,
) -> "Chatbot":
    from transformers.utils import logging as transformers_logging

    from chatbot.bot import Chatbot

    transformers_logging.disable_progress_bar()
    bot = Chatbot.load(
        model, device=device, dtype=dtype, guarded=guarded, prompt_format=prompt_format,
        allow_pickle=allow_pickle, compile=compile,
    )  # fmt: skip
    for file in bags:
        bot.add_attribute(file)
    return bot


def _read_line(prefill: str) -> str | None:
    """A line typed at the prompt, with `prefill` already there; None at the end of input."""
    import readline

    readline.set_startup_hook(lambda: readline.insert_text(prefill))
    try:
        return input("you> ")
    except EOFError:
        typer.echo("")
        return None
    except KeyboardInterrupt:
        typer.echo("\n(/quit or Ctrl-D leaves)", err=True)
        return ""
    finally:
        readline.set_startup_hook()


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets while a reply is made."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _show_progress(progress: Progress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(
            f"\r{progress.candidates} candidates, token {progress.tokens} of at most "
            f"{progress.max_tokens}, {progress.finished} done "
        )
        sys.stderr.flush()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 70 + "\r")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
