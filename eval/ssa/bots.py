"""What can be asked for a response: a model, an OpenAI-compatible server, a file of answers."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chatbot.controls import Controls
from chatbot.errors import InputError, ModelError
from chatbot.types import Ranking, Sampling
from eval.jsonl import Json
from eval.ssa.formats import Exchange, read_entries

if TYPE_CHECKING:
    from chatbot.bot import Chatbot

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable whose value a server is sent as bearer key, where it is set."""

_RETRIED = {408, 429, 500, 502, 503, 504}


class Bot(Protocol):
    """Answers conversations.

    Attributes:
        identity: all that its answers depend on beside turns and seed, as plain JSON with `name`.
    """

    identity: Json

    def answer(self, turns: Sequence[str], seed: int) -> str:
        """The response to turns, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model answers; a server or a file takes none of it."""

    controls: Controls = field(default_factory=Controls)
    sampling: Sampling = field(default_factory=Sampling)
    ranking: Ranking = field(default_factory=Ranking)


def open_bot(
    given: str | None, settings: Settings, *, name: str = "", server_model: str | None = None
) -> Bot:
    """The bot that `--bot` means.

    Args:
        given: None for the shipped model; an http(s) URL, an existing file of answers, or a model
            folder or name.
        name: how tables call it; made from `given` if empty.
        server_model: the model a server is asked for; None for the first it lists.

    Raises:
        InputError: settings for a server or file, or a file that cannot be read.
        ModelError: the model cannot be loaded, or the server does not answer.
    """
    if given and given.startswith(("http://", "https://")):
        _refuse_settings(settings, "a server")
        return ServerBot(given, name=name, model=server_model)
    if given and Path(given).is_file():
        _refuse_settings(settings, "a file of answers")
        return FileBot(given, name=name)
    from chatbot.bot import Chatbot

    return ModelBot(Chatbot.load(given), settings, name=name or (given or "shipped"))


def _refuse_settings(settings: Settings, what: str) -> None:
    if settings != Settings():
        raise InputError(
            f"{what} takes no controls or sampling from here; set them where it is made"
        )


class ModelBot:
    """A generator of this project or of `transformers`."""

    def __init__(self, bot: "Chatbot", settings: Settings, *, name: str):
        bot.check(settings.controls)
        self._bot, self._settings = bot, settings
        steered = settings.controls != Controls()
        self.identity: Json = {
            "name": name,
            "model": dict(bot.backbone.identity),
            "controls": _plain(settings.controls) if steered else None,
            "sampling": _plain(settings.sampling),
            "ranking": _plain(settings.ranking),
            "policy": bot.policy is not None,
            "ethics": bot.ethics is not None,
        }

    def answer(self, turns: Sequence[str], seed: int) -> str:
        reply = self._bot.respond(
            list(turns),
            controls=self._settings.controls,
            seed=seed,
            sampling=self._settings.sampling,
            ranking=self._settings.ranking,
        )
        return reply.text


def _plain(value: Controls | Sampling | Ranking) -> Json:
    """As a file gives it back: JSON has lists for tuples."""
    return json.loads(json.dumps(asdict(value)))


class FileBot:
    """Answers that are in a file already, of the formats of `formats`; found by their context."""

    def __init__(self, path: str | Path, *, name: str = ""):
        self._path = Path(path)
        self._answers = {
            one.context_key: one.response
            for entry in read_entries(self._path)
            for one in entry.exchanges
        }
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
        self.identity: Json = {"name": name or self._path.stem, "file": digest}

    def answer(self, turns: Sequence[str], seed: int) -> str:
        key = Exchange(tuple(turns), "").context_key
        if key not in self._answers:
            raise InputError(
                f"{self._path} has no answer to the context that ends {turns[-1]!r:.60}"
            )
        return self._answers[key]


class ServerBot:
    """A server with `POST /chat/completions` (OpenAI, llama.cpp, vLLM, Ollama, our own).

    Args:
        url: up to and without `/chat/completions`, such as http://localhost:8000/v1.
        timeout_s: of one answer.
        tries: in all, when it is busy or does not answer; the wait between them doubles.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        model: str | None = None,
        timeout_s: float = 60.0,
        tries: int = 4,
        wait_s: float = 1.0,
    ):
        import httpx

        self._url = url.rstrip("/").removesuffix("/chat/completions")
        self._tries, self._wait_s = tries, wait_s
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout_s)
        self._model = model or self._first_model()
        self.identity: Json = {"name": name or self._model, "url": self._url, "model": self._model}

    def answer(self, turns: Sequence[str], seed: int) -> str:
        last = len(turns) - 1
        messages = [
            {"role": "assistant" if (last - place) % 2 else "user", "content": turn}
            for place, turn in enumerate(turns)
        ]
        body = {"model": self._model, "messages": messages, "seed": seed}
        found = self._ask("POST", "/chat/completions", body)
        try:
            text = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(f"{self._url}: no choices[0].message in {found!r:.200}") from error
        if not isinstance(text, str):
            raise ModelError(f"{self._url}: the content of the answer is {text!r:.80}, no text")
        return text

    def _first_model(self) -> str:
        found = self._ask("GET", "/models", None)
        try:
            return str(found["data"][0]["id"])
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"{self._url}/models lists no model ({found!r:.120}); give --bot-model"
            ) from error

    def _ask(self, method: str, path: str, body: Json | None) -> Any:
        import httpx

        problem = ""
        for attempt in range(self._tries):
            wait_s = self._wait_s * 2**attempt
            try:
                response = self._client.request(method, self._url + path, json=body)
            except httpx.TransportError as error:  # no connection, time out, cut off
                problem = f"{type(error).__name__}: {error}"
            except httpx.InvalidURL as error:
                raise InputError(f"{self._url} is no URL: {error}") from error
            else:
                if response.status_code not in _RETRIED:
                    return self._read(response)
                problem = _told(response)
                asked = response.headers.get("Retry-After", "")
                wait_s = min(60.0, float(asked)) if asked.isdigit() else wait_s
            if attempt + 1 < self._tries:
                time.sleep(wait_s)
        raise ModelError(
            f"{self._url}{path}: {problem}, {self._tries} times; see that the server runs, then "
            "run the command again: it goes on behind the last complete line"
        )

    def _read(self, response: Any) -> Any:
        if response.status_code in (401, 403):
            raise ModelError(
                f"{self._url}: {_told(response)}; put the key into the environment variable "
                f"{KEY_VARIABLE}"
            )
        if response.status_code != 200:
            raise ModelError(f"{response.url}: {_told(response)}; check the URL and --bot-model")
        try:
            return response.json()
        except ValueError as error:
            raise ModelError(f"{response.url} answers no JSON: {response.text!r:.120}") from error


def _told(response: Any) -> str:
    """The status and what the server says of it, in OpenAI's shape or any."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text
    return f"status {response.status_code}, {message!s:.200}"
