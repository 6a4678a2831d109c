"""Replies of the bot, drawn once and kept: each is found again by what decided it.

A reply is decided by the turns, the controls, the seed, the sampling and the weights; the SHA-256
of these is its key. Lines of `replies.jsonl` may stand in any order, so that a run cut off, or one
with more attributes, goes on with the same file.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import Candidate, Reply, Sampling
from eval.jsonl import Json, append

if TYPE_CHECKING:
    from chatbot.bot import Chatbot


@dataclass(frozen=True, slots=True)
class Request:
    """One reply that is wanted."""

    turns: tuple[str, ...]
    controls: Controls
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of a reply.

    Attributes:
        pieces: of the reply, its end included.
        nats: -log p(reply | context) of the untouched model.
        nats_alone: -log p(reply) after a conversation of nothing.
        digests: of the word list and the learned head of each attribute that steered it.
        seconds: its share of the time its batch took.
    """

    text: str
    pieces: int
    nats: float
    nats_alone: float
    digests: Mapping[str, str]
    seconds: float


class Answers:
    """The replies of a folder; with a bot, those that are missing are drawn.

    Attributes:
        drawn: replies drawn since it was opened.
        seconds: that took.
    """

    def __init__(
        self, path: Path, model: Mapping[str, str], *, candidates: int, batch: int,
        bot: "Chatbot | None" = None,
    ):  # fmt: skip
        """Opens the file behind its complete lines.

        Args:
            model: name and digest of the weights the replies are of.
            batch: contexts answered at once; fixed places in the list of requests, since the
                rounding of matrix products may depend on the size of a batch.
            bot: None to only read.

        Raises:
            InputError: the file cannot be read or holds something else.
        """
        self.drawn, self.seconds = 0, 0.0
        self._path, self._model, self._bot = path, model, bot
        self._sampling = Sampling(candidates=candidates)
        self._batch = batch
        self._known: dict[str, Answer] = {}
        self._file = self._open()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._file.close()

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The replies, in order.

        Raises:
            InputError: one is missing and there is no bot to draw it.
        """
        keys = [self._key(request) for request in requests]
        for begin in range(0, len(requests), self._batch):
            part = slice(begin, begin + self._batch)
            if any(key not in self._known for key in keys[part]):
                self._draw(requests[part], keys[part])
        return [self._known[key] for key in keys]

    def missing(self, requests: Sequence[Request]) -> int:
        """How many of them would have to be drawn."""
        return sum(self._key(request) not in self._known for request in requests)

    def _key(self, request: Request) -> str:
        decided = [
            request.turns, asdict(request.controls), request.seed, asdict(self._sampling),
            self._model["digest"],
        ]  # fmt: skip
        text = json.dumps(decided, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]

    def _draw(self, requests: Sequence[Request], keys: Sequence[str]) -> None:
        if self._bot is None:
            raise InputError(
                f"{self._path} lacks replies of this run; run again without --report-only"
            )
        begin = time.perf_counter()
        replies = self._bot.respond_many(
            [request.turns for request in requests],
            controls=[request.controls for request in requests],
            seeds=[request.seed for request in requests],
            sampling=self._sampling,
        )
        alone = _nats_alone(self._bot, replies)
        took = time.perf_counter() - begin
        self.drawn += len(replies)
        self.seconds += took
        lines = []
        for key, request, reply, nats in zip(keys, requests, replies, alone, strict=True):
            answer = _answer(reply, nats, took / len(replies))
            if key not in self._known:
                self._known[key] = answer
                lines.append({"key": key, **_asked(request, self._model), **asdict(answer)})
        append(self._file, self._path, lines)

    def _open(self) -> IO[bytes]:
        try:
            file = self._path.open("r+b" if self._path.exists() else "w+b")
        except OSError as error:
            raise InputError(
                f"cannot write {self._path}: {error.strerror}; give another --out"
            ) from error
        whole = file.read().rpartition(b"\n")[0]
        for number, text in enumerate(whole.split(b"\n") if whole else (), start=1):
            try:
                record = json.loads(text)
                kept = {name: record[name] for name in Answer.__dataclass_fields__}
                self._known[record["key"]] = Answer(**kept)
            except (ValueError, KeyError, TypeError) as error:
                file.close()
                raise InputError(
                    f"{self._path}, line {number}: no reply of `chatbot eval control` "
                    f"({error!r:.80}); give another --out"
                ) from error
        file.seek(len(whole) + 1 if whole else 0)
        file.truncate()
        return file


def same_attributes(answers: Sequence[Answer]) -> dict[str, str]:
    """The digest of every attribute that steered the answers, all to contexts of one language.

    Raises:
        InputError: two answers were steered by different attributes of the same name.
    """
    digests: dict[str, str] = {}
    for answer in answers:
        for name, digest in answer.digests.items():
            if digests.setdefault(name, digest) != digest:
                raise InputError(
                    f"the replies were steered by two attributes named {name} (digests "
                    f"{digest[:12]} and {digests[name][:12]}): it changed between two runs; give "
                    "another --out"
                )
    return digests


def _answer(reply: Reply, nats_alone: float, seconds: float) -> Answer:
    chosen = _chosen(reply)
    steering = reply.trace.steering
    attributes = steering.attributes if steering else {}
    return Answer(
        text=reply.text,
        pieces=len(chosen.token_ids),
        nats=round(-chosen.log_likelihood, 4),
        nats_alone=round(nats_alone, 4),
        digests={
            name: " ".join(filter(None, (one.digest, one.head))) for name, one in attributes.items()
        },
        seconds=round(seconds, 4),
    )


def _chosen(reply: Reply) -> Candidate:
    """The candidate that the reply's text is of: the best one that says anything."""
    return next((one for one in reply.candidates if one.text), reply.candidates[0])


def _nats_alone(bot: "Chatbot", replies: Sequence[Reply]) -> Iterator[float]:
    """-log p(reply) after a conversation of nothing, for each chosen candidate."""
    from chatbot.scoring import reply_log_likelihoods

    chosen = [_chosen(reply).token_ids for reply in replies]
    nothing = [(bot.backbone.special.user,)] * len(chosen)
    scored = reply_log_likelihoods(bot.backbone, nothing, chosen)
    return (-float(log_probs.sum()) for log_probs in scored)


def _asked(request: Request, model: Mapping[str, str]) -> Json:
    controls: dict[str, Any] = asdict(request.controls)
    return {
        "model": model["digest"],
        "context": request.turns,
        "controls": controls,
        "seed": request.seed,
    }
