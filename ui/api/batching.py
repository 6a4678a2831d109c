"""Answers the requests of many clients in batches, in the order in which they came.

A worker takes the oldest request, waits a moment for others of the same sampling, ranking and mode,
and answers them in one batch with strengths and a seed for each. Several workers share the
requests evenly: a step of a small model keeps one core busy, and two batches use two. Knows nothing
of HTTP.
"""

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chatbot.controls import Controls
from chatbot.errors import ChatbotError
from chatbot.types import Progress, Ranking, Reply, Sampling, Trace

if TYPE_CHECKING:
    from ui.turns import Steerer

log = logging.getLogger(__name__)

MOST_ROWS = 640
"""Candidates of all requests of a batch together, which bounds its memory."""

PATIENCE = 0.05
"""Share of the time of a batch that it waits for those who are likely to join."""

OnProgress = Callable[[Progress], None]


class QueueFullError(ChatbotError):
    """No more requests are taken for now.

    Attributes:
        retry_after_s: about when there will be room.
    """

    def __init__(self, waiting: int, retry_after_s: float):
        super().__init__(f"{waiting} requests wait already; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class BatchBot(Protocol):
    """What answers: `chatbot.Chatbot`, or a scripted one in tests."""

    def respond_many(
        self,
        conversations: Sequence[Sequence[str]],
        /,
        *,
        controls: Sequence[Controls],
        seeds: Sequence[int],
        sampling: Sampling,
        ranking: Ranking,
        on_progress: OnProgress | None,
        stop: threading.Event | None,
    ) -> list[Reply]: ...


@dataclass(eq=False, slots=True)
class Job:
    """A request for a reply, and the reply to come.

    Attributes:
        on_progress: called after every decoding step, in the thread that decodes.
        reply: to come; `cancel` ends it without one.
    """

    turns: Sequence[str]
    controls: Controls = field(default_factory=Controls)
    seed: int = field(default_factory=lambda: secrets.randbelow(1 << 31))
    sampling: Sampling = field(default_factory=Sampling)
    ranking: Ranking = field(default_factory=Ranking)
    on_progress: OnProgress | None = None
    reply: "Future[Reply]" = field(default_factory=Future)

    def cancel(self) -> None:
        """Says that nobody waits for the reply any more; harmless where it has come."""
        self.reply.cancel()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for the reply."""
        return not self.reply.done()


class Batcher:
    """Makes the replies of all clients; share one between them and close it at the end.

    Args:
        bot: answers a batch; several at a time where there are several workers.
        workers: threads that answer, each a batch of its own.
        max_batch: conversations answered together.
        window_s: a batch that is not full waits so long for others to join.
        max_waiting: requests that may wait for their batch.
        before_batch: called in the worker's thread with the number of workers that are busy then.
        on_batch: told the size of every batch and the seconds it took.
    """

    def __init__(
        self,
        bot: BatchBot,
        *,
        workers: int = 1,
        max_batch: int = 8,
        window_s: float = 0.015,
        max_waiting: int = 64,
        before_batch: Callable[[int], None] | None = None,
        on_batch: Callable[[int, float], None] | None = None,
    ):
        self._bot = bot
        self._max_batch = max_batch
        self._window_s = window_s
        self._max_waiting = max_waiting
        self._before_batch = before_batch
        self._on_batch = on_batch
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._running: list[list[Job]] = []  # the batches that are answered now
        self._batch_s = 1.0  # of the last batches
        self._lately = 1  # requests that ran or waited when the last batch ended
        self._workers = [
            threading.Thread(target=self._work, name=f"batcher {number}", daemon=True)
            for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def depth(self) -> int:
        """Requests that wait for their batch."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether requests are still answered."""
        return all(worker.is_alive() for worker in self._workers)

    def submit(self, job: Job) -> "Future[Reply]":
        """Puts the request last in the queue; gives its reply to come.

        Raises:
            QueueFullError: too many wait already.
            ChatbotError: the batcher is closed.
        """
        with self._changed:
            if self._is_closed:
                raise ChatbotError("the service is ending; try another one")
            waiting = sum(job.is_wanted for job in self._waiting)
            if waiting >= self._max_waiting:
                batches = 1 + waiting / (self._max_batch * len(self._workers))
                raise QueueFullError(waiting, max(1.0, batches * self._batch_s))
            self._waiting.append(job)
            self._changed.notify_all()
        return job.reply

    def close(self) -> None:
        """Ends the workers; what waits or is being made is cancelled."""
        with self._changed:
            self._is_closed = True
            for job in (*self._waiting, *(job for batch in self._running for job in batch)):
                job.cancel()
            self._waiting.clear()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while jobs := self._next_batch():
            begin = time.perf_counter()
            if self._before_batch is not None:
                self._before_batch(len(self._running))
            self._answer(jobs)
            took_s = time.perf_counter() - begin
            if self._on_batch is not None:
                self._on_batch(len(jobs), took_s)
            with self._changed:
                self._batch_s += 0.2 * (took_s - self._batch_s)
                self._lately = self._known()
                self._running.remove(jobs)

    def _next_batch(self) -> list[Job]:
        """The oldest request and those that can join it; empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return []
                begin = time.perf_counter()
                while (left_s := begin + self._patience_s() - time.perf_counter()) > 0:
                    self._changed.wait(left_s)
                jobs = self._joining()
                taken = set(jobs)
                self._waiting = deque(
                    job for job in self._waiting if job not in taken and job.is_wanted
                )
                if jobs:
                    self._running.append(jobs)
                    return jobs

    def _patience_s(self) -> float:
        """How long to wait for others to join, from when the first came.

        Clients that have just been answered need a moment for their next message. A batch that
        goes without them makes them wait for a whole one, so it waits a little for its share of as
        many as there were lately.
        """
        n_joining = len(self._joining())
        if self._is_closed or not n_joining or n_joining >= self._max_batch:
            return 0.0
        is_short = n_joining < self._share(self._lately)
        return max(self._window_s, PATIENCE * self._batch_s if is_short else 0.0)

    def _known(self) -> int:
        """Requests that are answered or wait."""
        waiting = sum(job.is_wanted for job in self._waiting)
        return waiting + sum(len(batch) for batch in self._running)

    def _share(self, requests: int) -> int:
        """Of so many requests, those that one worker answers together."""
        return min(self._max_batch, math.ceil(requests / len(self._workers)))

    def _joining(self) -> list[Job]:
        """The requests that would be answered now, oldest first."""
        wanted = [job for job in self._waiting if job.is_wanted]
        if not wanted:
            return []
        first = wanted[0]
        most = max(1, min(self._share(self._known()), MOST_ROWS // first.sampling.candidates))
        alike = (job for job in wanted if _kind(job) == _kind(first))
        return [job for job, _ in zip(alike, range(most), strict=False)]

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Fills the replies; where a batch fails each is tried alone, so that one fails alone."""
        try:
            replies = self._draw(jobs)
        except BaseException as error:  # handed to those who wait
            if len(jobs) > 1:
                log.warning("a batch of %d failed (%r); each is tried alone", len(jobs), error)
                for job in jobs:
                    if job.is_wanted:
                        self._answer([job])
            else:
                _settle(jobs[0], error)
            return
        for job, reply in zip(jobs, replies, strict=True):
            _settle(job, reply)

    def _draw(self, jobs: Sequence[Job]) -> list[Reply]:
        stop = threading.Event()

        def step(progress: Progress) -> None:
            for job in jobs:
                _tell(job, progress)
            if not any(job.is_wanted for job in jobs):
                stop.set()  # looked at before the next step

        return self._bot.respond_many(
            [job.turns for job in jobs],
            controls=[job.controls for job in jobs],
            seeds=[job.seed for job in jobs],
            sampling=jobs[0].sampling,
            ranking=jobs[0].ranking,
            on_progress=step,
            stop=stop,
        )


class BatchedBot:
    """A `Batcher` with the face of a bot, so that the chat page joins the batches too.

    Attributes:
        steerer: of the bot that answers.
    """

    def __init__(self, batcher: Batcher, steerer: "Steerer"):
        self._batcher = batcher
        self.steerer = steerer

    def respond(
        self,
        turns: Sequence[str],
        /,
        *,
        controls: Controls | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        ranking: Ranking | None = None,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
    ) -> Reply:
        """The answer to a conversation, as `Chatbot.respond` gives it; stopped, without a text.

        Raises:
            CancelledError: the batcher was closed.
        """
        job = Job(
            turns, controls or Controls(), secrets.randbelow(1 << 31) if seed is None else seed,
            sampling or Sampling(), ranking or Ranking(),
        )  # fmt: skip
        if stop is None:
            job.on_progress = on_progress
            return self._batcher.submit(job).result()

        def step(progress: Progress) -> None:
            if stop.is_set():
                job.cancel()
            elif on_progress is not None:
                on_progress(progress)

        job.on_progress = step
        reply = self._batcher.submit(job)
        while True:
            try:
                return reply.result(timeout=0.1)
            except TimeoutError:
                if stop.is_set():  # also while it waits for its batch
                    job.cancel()
            except CancelledError:
                if stop.is_set():
                    return _stopped(job)
                raise


def _kind(job: Job) -> tuple[object, ...]:
    """What requests of one batch have in common."""
    return job.sampling, job.ranking, job.controls.mode, job.controls.gradient_settings


def _tell(job: Job, progress: Progress) -> None:
    """Tells the request of the progress of its batch, as far as it is its own."""
    if job.on_progress is None or not job.is_wanted:
        return
    candidates = job.sampling.candidates
    finished = progress.finished * candidates // progress.candidates
    try:
        job.on_progress(Progress(progress.tokens, progress.max_tokens, candidates, finished))
    except Exception as error:  # its client is gone, or its loop closed; the others go on
        log.warning("the progress of a reply could not be told: %r", error)
        job.cancel()


def _stopped(job: Job) -> Reply:
    """The reply of one who left the batch: nothing."""
    trace = Trace(
        model={}, turns=tuple(job.turns), seed=job.seed, sampling=job.sampling,
        ranking=job.ranking, prompt_ids=(), dropped_turns=0, truncated_pieces=0, steps=0,
        controls=job.controls,
    )  # fmt: skip
    return Reply("", (), trace, job.seed, stopped=True)


def _settle(job: Job, outcome: Reply | BaseException) -> None:
    try:
        if isinstance(outcome, BaseException):
            job.reply.set_exception(outcome)
        else:
            job.reply.set_result(outcome)
    except (InvalidStateError, CancelledError):  # nobody waits any more
        log.debug("a reply came that nobody waited for")
