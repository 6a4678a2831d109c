"""One turn from the person's words to a `Reply`, and conversations made of such turns.

    policy -> prompt -> backbone -> steering -> decoding -> coherence -> ethics -> ranking -> Reply

A turn's state is local to the call: many threads may share one `Chatbot`.
"""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from chatbot.controls import Controls, ControlsLike, as_controls
from chatbot.errors import InputError
from chatbot.prompt import Prompt, clean_text, shortened_runs
from chatbot.ranking import fit_with, rank
from chatbot.types import (
    Candidate,
    Outcome,
    Progress,
    Ranking,
    Reply,
    Sampling,
    SteeringTrace,
    Trace,
)

if TYPE_CHECKING:
    from chatbot.backbone import Backbone
    from chatbot.coherence import Coherence
    from chatbot.decoding import Drawn
    from chatbot.ethics import EthicsFilter
    from chatbot.perturbation import Perturbation
    from chatbot.policy import Decision, Policy
    from chatbot.steering import Steering

MAX_CHARACTERS = 8_000
"""The end of a turn that is looked at: more than the context window can hold, and few enough for
NFC, which takes quadratic time on long runs of combining marks."""

MAX_SEED = 2**63 - 1

DEFLECTIONS = Path(__file__).with_name("deflections.json")

OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class _Turn:
    """One conversation on its way to a reply.

    Attributes:
        asked: controls that the person gave; `controls` are what the topic rules left of them.
        candidates: ranked, best first, once they are drawn.
    """

    turns: tuple[str, ...]
    seed: int
    asked: Controls
    controls: Controls
    prompt: Prompt
    decision: "Decision | None" = None
    candidates: tuple[Candidate, ...] = ()
    steering: SteeringTrace | None = None
    notes: tuple[str, ...] = ()
    steps: int = 0
    is_stopped: bool = False
    outcome: Outcome = "chosen"

    @property
    def drawn_with(self) -> int:
        """Seed of the drawing; the second one has another."""
        return (self.seed + (self.outcome != "chosen")) % (MAX_SEED + 1)


@dataclass(frozen=True, slots=True)
class _Request:
    """What holds for every conversation of a call."""

    sampling: Sampling
    ranking: Ranking
    on_progress: OnProgress | None
    stop: Event | None
    clock: "_Clock"


class Chatbot:
    """Answers conversations with a generator; make one with `Chatbot.load()`.

    Attributes:
        policy: rules about sensitive topics, which change the controls of a turn; None for none.
        ethics: the filter that rejects candidates; None for none.
        coherence: rates how well candidates answer; None leaves that out of the ranking.
    """

    def __init__(
        self,
        backbone: "Backbone",
        *,
        policy: "Policy | None" = None,
        ethics: "EthicsFilter | None" = None,
        coherence: "Coherence | None" = None,
        encoder: str | Path | None = None,
    ):
        from chatbot.binding import Steerer

        self.backbone = backbone
        self.steerer = Steerer(backbone, encoder=encoder)
        self.policy = policy
        self.ethics = ethics
        self.coherence = coherence

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        prompt_format: str | None = None,
        allow_pickle: bool = False,
        encoder: str | Path | None = None,
        guarded: bool = True,
        compile: bool = False,
    ) -> "Chatbot":
        """A bot with the shipped generator, or with the model of a folder or hub name.

        Args:
            model: None for the shipped weights, which need no network.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            dtype: "auto", "float32", "bfloat16", "float16", or "int8" for half the memory on a CPU.
            revision: branch, tag or commit of a hub model.
            prompt_format: how conversations are written for the model, by name or as a Jinja
                template (docs/backbones.md); None for what the model has.
            allow_pickle: weights may be read from pickled files where there are no others.
            encoder: text encoder of rules, filter and readers, a folder or hub name that they
                were trained for; None for the one they are shipped for.
            guarded: with the shipped topic rules and ethics filter.
            compile: with torch.compile, for what lives long: loading takes a minute more, a reply
                to one conversation less (docs/backbones.md).

        Raises:
            ModelError: the model cannot be used, or not compiled; the message says why.
        """
        from chatbot.backbone import Backbone

        backbone = Backbone.load(
            model, device=device, dtype=dtype, revision=revision, prompt_format=prompt_format,
            allow_pickle=allow_pickle, compile=compile,
        )  # fmt: skip
        bot = cls(backbone, encoder=encoder)
        if encoder is None:  # what it reads are the vectors of the default encoder
            from chatbot.coherence import Coherence

            bot.coherence = Coherence.load(embedder=bot.steerer.embedder)
        if guarded:
            from chatbot.ethics import EthicsFilter
            from chatbot.policy import Policy
            from chatbot.reactions import ReactionReader
            from chatbot.topics import TopicDetector

            embedder = bot.steerer.embedder
            bot.policy = Policy.shipped(
                TopicDetector.load(embedder=embedder), ReactionReader.load(embedder=embedder)
            )
            bot.ethics = EthicsFilter.load(embedder=embedder)
        return bot

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

        Where the bot is guarded, topic rules may change the controls of the turn, and candidates
        that the ethics filter rejects are never the reply; `Reply.trace` tells of both.

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
        if isinstance(conversations, str):
            raise InputError("conversations is one text; give a list, or call `respond`")
        if not conversations:
            return []
        clock = _Clock()
        request = _Request(sampling or Sampling(), ranking or Ranking(), on_progress, stop, clock)
        batch = self._read_all(conversations, controls, seeds)
        clock.lap("policy")
        for turn in batch:
            turn.prompt = self._prompt(turn.turns)
        clock.lap("prompt")
        self._draw_all(batch, request)
        rejected = [turn for turn in batch if _all_rejected(turn) and not turn.is_stopped]
        if rejected:
            self._again(rejected, request)
        replies = [self._reply(turn, request) for turn in batch]
        clock.lap("ranking")
        return [replace(reply, timings=clock.seconds()) for reply in replies]

    def _read_all(
        self,
        conversations: Sequence[str | Sequence[str]],
        controls: Sequence[ControlsLike] | None,
        seeds: Sequence[int] | None,
    ) -> list[_Turn]:
        """The conversations checked, with what the topic rules say about them."""
        read = [_read(turns) for turns in conversations]
        seeds = [secrets.randbelow(1 << 31) for _ in read] if seeds is None else list(seeds)
        _check_seeds(seeds, len(read))
        asked = _each_controls(controls, len(read))
        for one, turns in zip(asked, read, strict=True):
            self.steerer.check(one.at((len(turns) + 1) // 2, turns[::-2][::-1]))
            self._check_rules(one)
        batch = [
            _Turn(turns, seed, one, one, Prompt((), 0, 0))
            for turns, seed, one in zip(read, seeds, asked, strict=True)
        ]
        if self.policy is not None:
            for turn, decision in zip(batch, self.policy.apply_many(read, asked), strict=True):
                turn.decision, turn.controls = decision, decision.controls
                turn.notes = decision.notes
        return batch

    def _check_rules(self, controls: Controls) -> None:
        if self.policy is None or not controls.rules_off:
            return
        known = [rule.name for rule in self.policy.rules]
        for name in controls.rules_off:
            if name not in known:
                raise InputError(f"no topic rule named {name!r}; there are {', '.join(known)}")

    def _draw_all(self, batch: Sequence[_Turn], request: _Request) -> None:
        """Draws, judges and ranks candidates; those that are steered alike in one batch."""
        alike: dict[object, list[_Turn]] = {}
        for turn in batch:
            one = turn.controls
            is_plain = one.mode == "hidden"  # it reads fusion and limit row by row
            settings = (one.gradient_settings, one.fusion, one.kl_limit)
            alike.setdefault((one.mode, None if is_plain else settings), []).append(turn)
        for group in alike.values():
            self._draw(group, request)

    def _draw(self, batch: Sequence[_Turn], request: _Request) -> None:
        from chatbot.decoding import draw
        from chatbot.steering import start_steering

        sampling, clock = request.sampling, request.clock
        controls = [turn.controls for turn in batch]
        steering = start_steering(
            self.steerer, controls, [turn.turns for turn in batch],
            candidates=sampling.candidates, temperature=sampling.temperature,
        )  # fmt: skip
        clock.lap("steering")
        drawn = draw(
            self.backbone, [turn.prompt.ids for turn in batch],
            sampling=sampling, seeds=[turn.drawn_with for turn in batch], steering=steering,
            perturbation=_perturbation(self.backbone, controls[0], steering),
            on_progress=request.on_progress, stop=request.stop,
        )  # fmt: skip
        clock.lap("decoding")
        worded = [self._candidates(rows, request.ranking) for rows in drawn]
        if steering is not None:
            steering.finish([[one.text for one in candidates] for candidates in worded])
            worded = [
                [
                    replace(one, fit=steering.fit(group, row), share=steering.share(group, row))
                    for row, one in enumerate(candidates)
                ]
                for group, candidates in enumerate(worded)
            ]
            clock.lap("steering")
        worded = self._rated(batch, worded, request.ranking)  # one call of the encoder for all
        worded = self._suited(batch, worded)
        clock.lap("coherence")
        judged = self._judged(batch, worded)
        clock.lap("ethics")
        for group, (turn, rows, candidates) in enumerate(zip(batch, drawn, judged, strict=True)):
            turn.candidates = rank(candidates, turn.turns, request.ranking)
            turn.steps = max(len(row.ids) for row in rows)
            turn.is_stopped = any(row.finish == "stopped" for row in rows)
            if steering is not None:
                chosen = _chosen(turn.candidates)
                turn.steering = steering.trace(group, chosen.row)
                turn.notes += steering.notes(group, chosen.row)
        clock.lap("ranking")

    def _suited(
        self, batch: Sequence[_Turn], worded: list[list[Candidate]]
    ) -> list[list[Candidate]]:
        """The candidates with a fit that tells how far they react as the topic rules prefer."""
        told = []
        for turn, group in zip(batch, worded, strict=True):
            suits = None
            if self.policy is not None and turn.decision is not None:
                suits = self.policy.suits(turn.decision.fired, [one.text for one in group])
            told.append(group if suits is None else list(map(fit_with, group, suits)))
        return told

    def _rated(
        self, batch: Sequence[_Turn], worded: list[list[Candidate]], ranking: Ranking
    ) -> list[list[Candidate]]:
        """The candidates of each conversation with how well they answer it."""
        if self.coherence is None or not ranking.coherence:
            return worded
        scores = self.coherence.score_many(
            [turn.turns for turn in batch], [[one.text for one in group] for group in worded]
        )
        return [
            [replace(one, coherence=score) for one, score in zip(group, given, strict=True)]
            for group, given in zip(worded, scores, strict=True)
        ]

    def _judged(
        self, batch: Sequence[_Turn], worded: list[list[Candidate]]
    ) -> list[list[Candidate]]:
        """The candidates of each conversation with the verdicts of the ethics filter."""
        if self.ethics is None:
            return worded
        verdicts = self.ethics.assess_many(
            [
                (turn.turns, [one.text for one in group])
                for turn, group in zip(batch, worded, strict=True)
            ]
        )
        return [
            [replace(one, verdict=verdict) for one, verdict in zip(group, given, strict=True)]
            for group, given in zip(worded, verdicts, strict=True)
        ]

    def _again(self, batch: Sequence[_Turn], request: _Request) -> None:
        """Draws once more, held neutral, where the filter rejected every candidate.

        Where it rejects all of these as well, the reply is a deflection. The rejected stay behind
        the others, to be looked at; none of them is ever a turn.
        """
        before = [turn.candidates for turn in batch]
        for turn in batch:
            turn.controls = replace(
                turn.controls, strengths={"neutral": 1.0}, schedule=None, mode="hidden",
                gradient=None, feedback=0.0,
            )  # fmt: skip
            turn.notes += ("All candidates were rejected; they were drawn again, held neutral.",)
            turn.outcome = "regenerated"
        self._draw_all(batch, request)
        n_before = request.sampling.candidates
        for turn, rejected in zip(batch, before, strict=True):
            own = tuple(replace(one, row=n_before + one.row) for one in turn.candidates)
            if _all_rejected(turn) and not turn.is_stopped:
                own = (_deflection(turn), *own)
                turn.steering, turn.outcome = None, "deflected"
                turn.notes += ("These were rejected too; the reply is a ready-made one.",)
            turn.candidates = (*own, *rejected)

    def _reply(self, turn: _Turn, request: _Request) -> Reply:
        decision = turn.decision
        trace = Trace(
            model=dict(self.backbone.identity),
            turns=turn.turns,
            seed=turn.seed,
            sampling=request.sampling,
            ranking=request.ranking,
            prompt_ids=turn.prompt.ids,
            dropped_turns=turn.prompt.dropped_turns,
            truncated_pieces=turn.prompt.truncated_pieces,
            prompt_format=self.backbone.prompt_format,
            steps=turn.steps,
            controls=None if turn.asked == Controls() else turn.asked,
            steered_by=None if turn.controls == turn.asked else turn.controls,
            rules=() if decision is None else decision.fired,
            topics={} if decision is None else dict(decision.topics.probabilities),
            steering=turn.steering,
            outcome=turn.outcome,
            notes=_notes(turn.prompt, turn.candidates) + turn.notes,
        )
        text = _chosen(turn.candidates).text or "..."
        return Reply(text, turn.candidates, trace, turn.seed, stopped=turn.is_stopped)

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
        return self.backbone.prompt(turns)

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
        scored = reply_log_likelihoods(self.backbone, nothing, replies)
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
        text = shortened_runs(clean_text(turn.strip()[-MAX_CHARACTERS:]))[-MAX_CHARACTERS:].lstrip()
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
    """The best candidate; where all were dropped, the best harmless one that says anything."""
    harmless = [one for one in candidates if one.dropped != "rejected"]
    return next((one for one in harmless if one.text), (harmless or candidates)[0])


def _perturbation(
    backbone: "Backbone", controls: Controls, steering: "Steering | None"
) -> "Perturbation | None":
    """What takes the steps of the decoder in the modes that follow gradients."""
    settings = controls.gradient_settings
    if settings is None or steering is None or controls.mode == "hidden":
        return None
    from chatbot.perturbation import Perturbation

    return Perturbation(
        backbone, settings, steering.pulls, mode=controls.mode, fusion=controls.fusion,
        kl_limit=controls.kl_limit, note=steering.note_moved,
    )  # fmt: skip


def _all_rejected(turn: _Turn) -> bool:
    """Whether the ethics filter leaves no candidate that says anything."""
    spoken = [one for one in turn.candidates if one.text]
    return bool(spoken) and all(
        one.verdict is not None and not one.verdict.accepted for one in spoken
    )


def _deflection(turn: _Turn) -> Candidate:
    """A ready-made reply in the language of the conversation, varied by the seed."""
    from attribute_models.lexicon import language_of_turns

    known = json.loads(DEFLECTIONS.read_text(encoding="utf-8"))
    ready_made = known[language_of_turns(turn.turns)]
    unsaid = [text for text in ready_made if text not in turn.turns] or ready_made
    text = unsaid[turn.seed % len(unsaid)]
    return Candidate(text, (), 0.0, "end", score=0.0, row=-1)


class _Clock:
    """Seconds of each phase, added up where a phase comes again."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """The time since the last call was spent on `phase`."""
        now = time.perf_counter()
        self._laps[phase] = self._laps.get(phase, 0.0) + now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """Of each phase, and `total`."""
        return {**self._laps, "total": self._last - self._begin}


def _notes(prompt: Prompt, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    notes = []  # not of dropped turns: every long conversation has them, and the trace counts them
    if prompt.truncated_pieces:
        notes.append("The message was too long: only its end was read.")
    if candidates[0].dropped is not None:
        notes.append("Every candidate broke a rule; the least bad one was taken.")
    return tuple(notes)
