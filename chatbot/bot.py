"""One turn from the person's words to a `Reply`, and conversations made of such turns.

    prompt -> backbone -> steering -> decoding -> ranking -> Reply

A turn's state is local to the call: many threads may share one `Chatbot`.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from chatbot.controls import Controls, ControlsLike, as_controls
from chatbot.errors import InputError
from chatbot.prompt import Prompt, build_context, clean_text
from chatbot.ranking import rank
from chatbot.types import Candidate, Progress, Ranking, Reply, Sampling, Trace

if TYPE_CHECKING:
    from chatbot.backbone import Backbone
    from chatbot.decoding import Drawn

MAX_CHARACTERS = 8_000
"""The end of a turn that is looked at: more than the context window can hold, and few enough for
NFC, which takes quadratic time on long runs of combining marks."""

MAX_SEED = 2**63 - 1

MAX_READ_TURNS = 16
"""Turns looked at, newest first; the context window holds seven."""

OnProgress = Callable[[Progress], None]


class Chatbot:
    """Answers conversations with a generator; make one with `Chatbot.load()`."""

    def __init__(self, backbone: "Backbone"):
        from chatbot.binding import Steerer

        self.backbone = backbone
        self.steerer = Steerer(backbone)

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, device: str = "auto", dtype: str = "auto"
    ) -> "Chatbot":
        """A bot with the shipped generator, or with the model of a folder or hub name.

        Args:
            model: None for the shipped weights, which need no network.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            dtype: "auto", "float32", "bfloat16" or "float16".

        Raises:
            ModelError: the model cannot be used; the message says why.
        """
        from chatbot.backbone import Backbone

        return cls(Backbone.load(model, device=device, dtype=dtype))

    def attributes(self) -> list[str]:
        """Names that `Controls` can ask for."""
        return self.steerer.names()

    def check(self, controls: ControlsLike) -> None:
        """Raises UnknownAttributeError where the controls name an attribute there is none of."""
        given = as_controls(controls)
        self.steerer.check(given.at(1))

    def add_attribute(self, file: str | Path) -> str:
        """Makes a word list of one's own an attribute, at once; returns its name, the file's.

        The file has one word a line; a weight from 0 to 1 may follow behind a tab. The attribute
        takes the place of another of the same name.

        Raises:
            InputError: the file cannot be read; the message names the line.
        """
        return self.steerer.add(file)

    def respond(
        self,
        turns: str | Sequence[str],
        *,
        controls: ControlsLike = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        ranking: Ranking | None = None,
        on_progress: OnProgress | None = None,
        stop: Event | None = None,
    ) -> Reply:
        """The answer to a conversation.

        Args:
            turns: the person's message, or all turns, oldest first; the last is the person's.
            controls: attributes the reply shall show, `Controls(...)` or {name: strength}; a
                schedule counts the bot's turns, of which this is number (len(turns) + 1) // 2.
            seed: repeats a reply; None draws a new one, found in `Reply.seed`.
            sampling: how many candidates are drawn and how.
            ranking: how the reply is chosen among them.
            on_progress: called after each decoding step, in the calling thread.
            stop: set it from elsewhere to end decoding within one piece.

        Raises:
            InputError: a turn is empty or no text, or the seed or a strength is out of range.
            UnknownAttributeError: the controls name an attribute that there is none of.
        """
        seeds = None if seed is None else [seed]
        batch = self.respond_many(
            [turns], controls=[controls], seeds=seeds, sampling=sampling, ranking=ranking,
            on_progress=on_progress, stop=stop,
        )  # fmt: skip
        return batch[0]

    def respond_many(
        self,
        conversations: Sequence[str | Sequence[str]],
        *,
        controls: Sequence[ControlsLike] | None = None,
        seeds: Sequence[int] | None = None,
        sampling: Sampling | None = None,
        ranking: Ranking | None = None,
        on_progress: OnProgress | None = None,
        stop: Event | None = None,
    ) -> list[Reply]:
        """The answers to several conversations, decoded in one batch, each with its controls.

        Each conversation gets the candidates that it would get alone, but for rounding of the
        device's matrix products, which may depend on the size of the batch.
        """
        from chatbot.decoding import draw
        from chatbot.steering import start_steering

        if isinstance(conversations, str):
            raise InputError("conversations is one text; give a list, or call `respond`")
        if not conversations:
            return []
        begin = time.perf_counter()
        sampling, ranking = sampling or Sampling(), ranking or Ranking()
        read = [_read(turns) for turns in conversations]
        seeds = [secrets.randbelow(1 << 31) for _ in read] if seeds is None else list(seeds)
        _check_seeds(seeds, len(read))
        asked = _each_controls(controls, len(read))
        prompts = [self._prompt(turns) for turns in read]
        prompted = time.perf_counter()
        steering = start_steering(
            self.steerer, asked, read,
            candidates=sampling.candidates, temperature=sampling.temperature,
        )  # fmt: skip
        prepared = time.perf_counter()
        drawn = draw(
            self.backbone, [prompt.ids for prompt in prompts],
            sampling=sampling, seeds=seeds, steering=steering,
            on_progress=on_progress, stop=stop,
        )  # fmt: skip
        decoded = time.perf_counter()
        replies = []
        for group, (turns, prompt, seed, rows) in enumerate(
            zip(read, prompts, seeds, drawn, strict=True)
        ):
            candidates = self._candidates(rows, ranking)
            if steering is not None:
                candidates = [
                    replace(one, fit=steering.fit(group, row), share=steering.share(group, row))
                    for row, one in enumerate(candidates)
                ]
            ranked = rank(candidates, turns, ranking)
            chosen = _chosen(ranked)
            steps = max(len(row.ids) for row in rows)
            trace = Trace(
                model=dict(self.backbone.identity),
                turns=turns,
                seed=seed,
                sampling=sampling,
                ranking=ranking,
                prompt_ids=prompt.ids,
                dropped_turns=prompt.dropped_turns,
                truncated_pieces=prompt.truncated_pieces,
                steps=steps,
                controls=None if asked[group] == Controls() else asked[group],
                notes=_notes(prompt, ranked),
            )
            if steering is not None:
                trace = replace(
                    trace,
                    steering=steering.trace(group, chosen.row),
                    notes=trace.notes + steering.notes(group, chosen.row),
                )
            stopped = any(row.finish == "stopped" for row in rows)
            replies.append(Reply(chosen.text or "...", ranked, trace, seed, stopped=stopped))
        end = time.perf_counter()
        timings = {
            "prompt": prompted - begin,
            "steering": prepared - prompted,
            "decoding": decoded - prepared,
            "ranking": end - decoded,
            "total": end - begin,
        }
        return [replace(reply, timings=timings) for reply in replies]

    def replay(self, trace: Trace) -> Reply:
        """The reply that `trace` tells of, drawn again: the same pieces on the same device.

        Raises:
            InputError: the trace is of other weights.
        """
        if trace.model["digest"] != self.backbone.identity["digest"]:
            raise InputError(
                f"the trace is of the model {trace.model['name']} ({trace.model['digest'][:12]}), "
                f"this bot has {self.backbone.identity['digest'][:12]}; load that model"
            )
        return self.respond(
            trace.turns, controls=trace.controls, seed=trace.seed, sampling=trace.sampling,
            ranking=trace.ranking,
        )  # fmt: skip

    def conversation(
        self,
        *,
        controls: ControlsLike = None,
        sampling: Sampling | None = None,
        ranking: Ranking | None = None,
    ) -> "Conversation":
        """An empty conversation with this bot; a schedule of the controls counts its turns."""
        return Conversation(self, controls=controls, sampling=sampling, ranking=ranking)

    def _prompt(self, turns: Sequence[str]) -> Prompt:
        config = self.backbone.model.config
        # Only the newest turns can fit; older ones are counted without being split into pieces.
        newest = turns[-MAX_READ_TURNS:]
        pieces = [self.backbone.pieces(turn) for turn in newest]
        prompt = build_context(pieces, self.backbone.special, max_tokens=config.max_context)
        return replace(prompt, dropped_turns=prompt.dropped_turns + len(turns) - len(newest))

    def _candidates(self, rows: Sequence["Drawn"], ranking: Ranking) -> list[Candidate]:
        alone: Sequence[float | None] = [None] * len(rows)
        if ranking.novelty:
            alone = self._log_likelihood_alone([row.ids for row in rows])
        return [
            Candidate(
                text=clean_text(self.backbone.text(row.ids)),  # it will be a turn that is read
                token_ids=tuple(row.ids),
                log_likelihood=sum(row.log_probs),
                finish=row.finish,
                row=number,
                log_likelihood_alone=without,
            )
            for number, (row, without) in enumerate(zip(rows, alone, strict=True))
        ]

    def _log_likelihood_alone(self, replies: Sequence[Sequence[int]]) -> list[float]:
        """The log p(reply) after a conversation of nothing, one (nats) per reply."""
        from chatbot.scoring import reply_log_likelihoods

        nothing = [(self.backbone.special.user,)] * len(replies)
        scored = reply_log_likelihoods(self.backbone.model, nothing, replies)
        return [float(log_probs.sum()) for log_probs in scored]


class Conversation:
    """Turns that grow by `say`; the unfinished or failed turn leaves no trace in them."""

    def __init__(
        self,
        bot: Chatbot,
        *,
        controls: ControlsLike = None,
        sampling: Sampling | None = None,
        ranking: Ranking | None = None,
    ):
        self.bot = bot
        self.controls = as_controls(controls)
        self.sampling = sampling
        self.ranking = ranking
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self.turns: list[str] = []
        self.replies: list[Reply] = []

    def say(
        self,
        text: str,
        *,
        seed: int | None = None,
        on_progress: OnProgress | None = None,
        stop: Event | None = None,
    ) -> Reply:
        """The bot's answer; what was read and said joins `turns` unless the reply was stopped.

        Raises:
            InputError: the text is empty.
        """
        reply = self.bot.respond(
            [*self.turns, text], controls=self.controls, seed=seed, sampling=self.sampling,
            ranking=self.ranking, on_progress=on_progress, stop=stop,
        )  # fmt: skip
        if not reply.stopped:
            self.turns += [reply.trace.turns[-1], reply.text]
            self.replies.append(reply)
        return reply


def _read(turns: str | Sequence[str]) -> tuple[str, ...]:
    """The turns cleaned; refuses what cannot be answered."""
    if not isinstance(turns, Sequence):
        raise InputError(f"the turns are {type(turns).__name__}; give a string or a list of them")
    given = [turns] if isinstance(turns, str) else turns
    if not given:
        raise InputError("the conversation has no turns; give at least the person's message")
    read = []
    for place, turn in enumerate(given, start=1):
        if not isinstance(turn, str):
            raise InputError(f"turn {place} is {type(turn).__name__}; every turn is a string")
        text = clean_text(turn.strip()[-MAX_CHARACTERS:])[-MAX_CHARACTERS:].lstrip()
        if not text:
            which = "the message" if place == len(given) else f"turn {place}"
            raise InputError(f"{which} is empty; write something to answer")
        read.append(text)
    return tuple(read)


def check_seed(seed: int) -> None:
    """Raises InputError where `seed` is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"the seed is {seed!r:.50}; give a whole number from 0 to {MAX_SEED}")


def _check_seeds(seeds: Sequence[int], wanted: int) -> None:
    if len(seeds) != wanted:
        raise InputError(f"{len(seeds)} seeds for {wanted} conversations; give one for each")
    for seed in seeds:
        check_seed(seed)


def _each_controls(given: Sequence[ControlsLike] | None, wanted: int) -> list[Controls]:
    controls = [as_controls(one) for one in given] if given is not None else [Controls()] * wanted
    if len(controls) != wanted:
        raise InputError(f"{len(controls)} controls for {wanted} conversations; give one for each")
    return controls


def _chosen(candidates: Sequence[Candidate]) -> Candidate:
    """The best candidate; where all were dropped, the best one that says anything."""
    return next((one for one in candidates if one.text), candidates[0])


def _notes(prompt: Prompt, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    notes = []  # not of dropped turns: every long conversation has them, and the trace counts them
    if prompt.truncated_pieces:
        notes.append("The message was too long: only its end was read.")
    if candidates[0].dropped is not None:
        notes.append("Every candidate broke a rule; the least bad one was taken.")
    return tuple(notes)
