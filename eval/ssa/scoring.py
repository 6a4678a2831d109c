"""Scores files of responses: line by line onto the end of a file, on this machine or through Ray.

What a score is, the scorer knows; what a line means, `formats`.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from chatbot.errors import ChatbotError, InputError
from eval.jsonl import Json, Line, resumed
from eval.ssa.formats import Entry, Exchange, read_entries

REQUIRED = {"sensible", "specific", "ssa", "scorer"}
"""Keys that every line gets; single responses also `key` and `reasons`, dialogues `responses`."""

OWN = REQUIRED | {"key", "reasons", "responses"}
"""Keys that are made anew where the input has them already."""

ENGINES = ("local", "ray")

_CHUNK = 32
"""Responses scored together, at fixed places in the file: a run cut off and gone on with, or one
on many machines, gives the scorer the same batches and so the same bytes."""

_DIGITS = 4


class ScoreLike(Protocol):
    """One response's numbers, 0 to 1, specific at most sensible."""

    @property
    def sensible(self) -> float: ...
    @property
    def specific(self) -> float: ...
    @property
    def reasons(self) -> Sequence[object]: ...


class ScorerLike(Protocol):
    """What scores (context, response) pairs, each apart from the others."""

    @property
    def identity(self) -> Mapping[str, Any]: ...
    def score(self, pairs: Sequence[tuple[Sequence[str], str]]) -> Sequence[ScoreLike]: ...


Load = Callable[[], ScorerLike]
"""Makes the scorer where it is needed: in this process, or in a worker that unpacks the call."""

Watch = Callable[[Iterator[Json], int], Iterable[Json]]


def load_scorer(folder: str | Path | None = None, threads: int | None = None) -> ScorerLike:
    """The shipped scorer, or that of a folder.

    Args:
        threads: of PyTorch; None leaves them. Sums over another number of threads may differ in
            their last bits.
    """
    import torch

    from chatbot.console import quiet_libraries
    from eval.ssa.scorer import Scorer

    quiet_libraries()
    if threads is not None:
        torch.set_num_threads(threads)
    return Scorer.load(Path(folder) if folder else None)


def score_file(
    load: Load,
    in_path: str | Path,
    out_path: str | Path,
    *,
    format: str = "auto",
    engine: str = "local",
    workers: int = 2,
    watch: Watch = lambda records, _: records,
) -> int:
    """Scores every response of a file; the number of lines scored now.

    Each line of the output has all keys of its input and `sensible`, `specific`, `ssa`, `scorer`.
    A single response also gets its `key` (a hash of context and response) and `reasons`; a
    dialogue gets `responses`, a list of such scores with their `turn`, and their means.

    Args:
        format: of `in_path`, one of `formats.FORMATS`.
        engine: "local", or "ray" to spread the work over `workers` processes, or over the cluster
            that the environment variable RAY_ADDRESS names.
        watch: passes on the records that are written; it gets how many are to come.

    Raises:
        InputError: a bad line, or an output of another input or scorer.
        ChatbotError: Ray is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"there is no engine {engine!r}; give one of {', '.join(ENGINES)}")
    entries = [_without_scores(entry) for entry in read_entries(in_path, format)]
    scorer = load()
    identity = dict(scorer.identity)
    with resumed(out_path, [entry.line for entry in entries], REQUIRED) as output:
        n_done = len(output.done)
        _check_same_scorer(Path(out_path), output.done, identity)
        chunks = list(_chunks(entries, skip=n_done))
        pairs = [[exchange for entry in chunk for exchange in entry.exchanges] for chunk in chunks]
        if engine == "ray" and chunks:
            scores = _scored_by_ray(load, pairs, workers, identity)
        else:
            scores = (score_exchanges(scorer, chunk) for chunk in pairs)
        records = (
            record
            for chunk, scored in zip(chunks, scores, strict=True)
            for record in _records(chunk, scored, identity, skip=n_done)
        )
        for record in watch(records, len(entries) - n_done):
            output.write(record)
    return len(entries) - n_done


def score_exchanges(scorer: ScorerLike, exchanges: Sequence[Exchange]) -> list[Json]:
    """`sensible`, `specific`, `ssa`, `reasons` and `key` of each exchange."""
    scores = scorer.score([(one.context, one.response) for one in exchanges])
    return [_as_json(one, score) for one, score in zip(exchanges, scores, strict=True)]


def _as_json(exchange: Exchange, score: ScoreLike) -> Json:
    sensible = round(float(score.sensible), _DIGITS)
    specific = min(round(float(score.specific), _DIGITS), sensible)
    return {
        "sensible": sensible,
        "specific": specific,
        "ssa": round((sensible + specific) / 2, _DIGITS + 1),
        "reasons": [str(reason) for reason in score.reasons],
        "key": exchange.key,
    }


def means(scores: Sequence[Json]) -> Json:
    """`sensible`, `specific` and `ssa` over the responses of a dialogue."""
    return {
        name: round(sum(one[name] for one in scores) / len(scores), _DIGITS + 1)
        for name in ("sensible", "specific", "ssa")
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry with its place in the file, from 0."""

    number: int
    entry: Entry

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        return self.entry.exchanges


def _chunks(entries: Sequence[Entry], *, skip: int) -> Iterator[list[_Place]]:
    """Runs of entries that hold `_CHUNK` exchanges or a few more; those of `skip` done left out."""
    chunk: list[_Place] = []
    for number, entry in enumerate(entries):
        chunk.append(_Place(number, entry))
        if sum(len(one.exchanges) for one in chunk) >= _CHUNK:
            if number >= skip:
                yield chunk
            chunk = []
    if chunk and chunk[-1].number >= skip:
        yield chunk


def _records(
    chunk: Sequence[_Place], scores: Sequence[Json], identity: Json, *, skip: int
) -> Iterator[Json]:
    rest = iter(scores)
    for place in chunk:
        own = [next(rest) for _ in place.exchanges]
        if place.number < skip:
            continue
        record = place.entry.line.record
        if place.entry.is_dialogue:
            told = [
                {"turn": exchange.turn} | score
                for exchange, score in zip(place.exchanges, own, strict=True)
            ]
            yield record | means(own) | {"responses": told, "scorer": identity}
        else:
            yield record | own[0] | {"scorer": identity}


def _without_scores(entry: Entry) -> Entry:
    line = entry.line
    record = {key: value for key, value in line.record.items() if key not in OWN}
    return Entry(Line(line.path, line.number, record), entry.exchanges, entry.is_dialogue)


def _check_same_scorer(path: Path, done: Sequence[Json], identity: Json) -> None:
    for number, record in enumerate(done, start=1):
        if record["scorer"] != identity:
            raise InputError(
                f"{path}, line {number}: scored by {record['scorer']}, now it is {identity}; "
                "give another file for the output"
            )


# -- Ray


class _Worker:
    """Scores chunks in a process of its own; the scorer is loaded once."""

    def __init__(self, load: Load):
        self._scorer = load()

    def __call__(self, row: Json) -> Json:
        # As text: Arrow, which carries the rows, would unify the types of what they hold.
        exchanges = [Exchange(tuple(context), text) for context, text in json.loads(row["pairs"])]
        return {
            "number": row["number"],
            "scores": json.dumps(score_exchanges(self._scorer, exchanges)),
            "scorer": json.dumps(dict(self._scorer.identity)),
        }


def _scored_by_ray(
    load: Load, chunks: Sequence[Sequence[Exchange]], workers: int, identity: Json
) -> Iterator[list[Json]]:
    """The scores of each chunk, in order, made by Ray Data."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise ChatbotError(
            "the engine `ray` needs Ray Data; install the extra: pip install "
            '"meena-controllable-chatbot[ray]", or leave --engine out'
        ) from error
    here: Json = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
    ray.init(**here, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        rows = [
            {"number": number, "pairs": json.dumps([(one.context, one.response) for one in chunk])}
            for number, chunk in enumerate(chunks)
        ]
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), 16 * workers))
        scored = data.map(_Worker, fn_constructor_args=(load,), concurrency=workers)
        for number, row in enumerate(scored.iter_rows()):
            if row["number"] != number:
                raise ChatbotError(f"Ray gave chunk {row['number']} in the place of {number}")
            if json.loads(row["scorer"]) != identity:
                raise ChatbotError(
                    f"a worker has the scorer {row['scorer']}, here it is {identity}; install the "
                    "same version on every machine"
                )
            yield json.loads(row["scores"])
    finally:
        ray.shutdown()
