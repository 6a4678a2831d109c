"""Perplexity of a generator on dialogues: every turn after the first is scored as a reply."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatbot.backbone import Backbone
from chatbot.errors import InputError
from chatbot.prompt import clean_text
from chatbot.scoring import reply_log_likelihoods
from eval.jsonl import Json, Line, read_lines, resumed

ADDED = {"nll", "tokens", "words", "turn_nll", "turn_tokens", "turn_words"}
"""Keys that a line gets."""

MAX_CHARACTERS = 8_000
"""Of one turn; what is longer is no turn of talk, and a reply is scored in one piece."""

_CHUNK = 64
"""Dialogues scored together; fixed places in the file, so that a run cut off and gone on with
gives the same bytes as one in one piece."""

_RESAMPLES = 2_000

Watch = Callable[[Iterator[tuple[Line, "Score"]], int], Iterable[tuple[Line, "Score"]]]


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over the replies of one dialogue, and the same for each reply.

    Attributes:
        turn_nll: negative log-likelihood in nats, end of reply included.
        turn_tokens: pieces, the end counted as one.
        turn_words: words between white space.
    """

    turn_nll: tuple[float, ...]
    turn_tokens: tuple[int, ...]
    turn_words: tuple[int, ...]

    @property
    def nll(self) -> float:
        return round(sum(self.turn_nll), 4)

    @property
    def tokens(self) -> int:
        return sum(self.turn_tokens)

    @property
    def words(self) -> int:
        return sum(self.turn_words)

    def to_dict(self) -> Json:
        """The keys of `ADDED`."""
        return {
            "nll": self.nll,
            "tokens": self.tokens,
            "words": self.words,
            "turn_nll": list(self.turn_nll),
            "turn_tokens": list(self.turn_tokens),
            "turn_words": list(self.turn_words),
        }


@dataclass(frozen=True, slots=True)
class Totals:
    """Perplexities over many dialogues; lower is better.

    Attributes:
        per_piece, per_word: exp(nll / n), infinite where there is nothing to divide by.
        per_piece_interval, per_word_interval: 95 %, by resampling dialogues.
    """

    dialogues: int
    replies: int
    tokens: int
    words: int
    nll: float
    per_piece: float
    per_piece_interval: tuple[float, float]
    per_word: float
    per_word_interval: tuple[float, float]

    def __str__(self) -> str:
        piece, word = self.per_piece_interval, self.per_word_interval
        return (
            f"perplexity per piece {self.per_piece:.2f}  "
            f"[{piece[0]:.2f}, {piece[1]:.2f}]  n = {self.tokens} pieces\n"
            f"perplexity per word  {self.per_word:.2f}  "
            f"[{word[0]:.2f}, {word[1]:.2f}]  n = {self.words} words\n"
            f"of {self.replies} replies in {self.dialogues} dialogues; 95 % intervals by "
            f"resampling dialogues {_RESAMPLES} times, seed 0"
        )


def score_dialogues(backbone: Backbone, dialogues: Sequence[Sequence[str]]) -> list[Score]:
    """Each dialogue's replies scored after the turns before them that the bot would read.

    Args:
        dialogues: turns, oldest first; a dialogue of one turn has nothing to score.
    """
    prompts: list[Sequence[int]] = []
    replies: list[Sequence[int]] = []
    for turns in dialogues:
        clean = [clean_text(turn) for turn in turns]
        for i in range(1, len(clean)):
            prompts.append(backbone.prompt(clean[:i]).ids)
            replies.append(backbone.reply(clean[i]))
    scored = iter(reply_log_likelihoods(backbone, prompts, replies))
    result = []
    for turns in dialogues:
        log_probs = [next(scored) for _ in turns[1:]]
        result.append(
            Score(
                turn_nll=tuple(round(-row.double().sum().item(), 4) for row in log_probs),
                turn_tokens=tuple(map(len, log_probs)),
                turn_words=tuple(len(clean_text(turn).split()) for turn in turns[1:]),
            )
        )
    return result


def total(scores: Sequence[Score]) -> Totals:
    """The perplexities of all dialogues together."""
    sums = np.array([(s.nll, s.tokens, s.words) for s in scores], dtype=float).reshape(-1, 3)
    nll, tokens, words = sums.sum(0)
    rng = np.random.default_rng(0)
    drawn = np.zeros((_RESAMPLES, 3))
    for row in drawn:  # row by row: all at once would need dialogues x resamples numbers
        row[:] = sums[rng.integers(len(sums), size=len(sums))].sum(0)
    return Totals(
        dialogues=len(scores),
        replies=sum(len(score.turn_nll) for score in scores),
        tokens=int(tokens),
        words=int(words),
        nll=float(nll),
        per_piece=_perplexity(nll, tokens),
        per_piece_interval=_interval(drawn[:, 0], drawn[:, 1]),
        per_word=_perplexity(nll, words),
        per_word_interval=_interval(drawn[:, 0], drawn[:, 2]),
    )


def _perplexity(nll: float, n: float) -> float:
    return math.exp(min(nll / n, 700.0)) if n else math.inf


def _interval(nll: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    values = [_perplexity(*pair) for pair in zip(nll, n, strict=True)]
    low, high = np.quantile(values, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def check_dialogue(line: Line) -> None:
    """Raises InputError where the line has no list of turns."""
    turns = line.record.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise line.error(
            "expected `turns`, a list of one or more strings; "
            f"the keys are {', '.join(line.record) or 'none'}"
        )
    for place, turn in enumerate(turns, start=1):
        if len(turn) > MAX_CHARACTERS:
            raise line.error(
                f"turn {place} has {len(turn)} characters; at most {MAX_CHARACTERS} are scored"
            )


def score_file(
    backbone: Backbone,
    in_path: str | Path,
    out_path: str | Path | None,
    *,
    watch: Watch = lambda scored, _: scored,
) -> list[Score]:
    """The scores of all dialogues of a file, those that `out_path` holds already included.

    Args:
        in_path: lines of `{"turns": [...]}`.
        out_path: gets the lines with the keys of `ADDED` beside their own; None for none.
        watch: passes on what is scored; it gets the scored lines and how many are to come.

    Raises:
        InputError: a bad line, or an output of another input or model.
    """
    lines = read_lines(in_path, check_dialogue)
    if out_path is None:
        return [score for _, score in watch(_scored(backbone, lines, skip=0), len(lines))]
    with resumed(out_path, lines, ADDED) as output:
        scores = [_from_record(record) for record in output.done]
        _check_same_model(backbone, lines, scores, Path(out_path))
        skip = len(scores)
        for line, score in watch(_scored(backbone, lines, skip=skip), len(lines) - skip):
            output.write(line.record | score.to_dict())
            scores.append(score)
    return scores


def _scored(
    backbone: Backbone, lines: Sequence[Line], *, skip: int
) -> Iterator[tuple[Line, Score]]:
    """Lines and scores, but for the first `skip` lines."""
    for begin in range(skip - skip % _CHUNK, len(lines), _CHUNK):
        chunk = lines[begin : begin + _CHUNK]
        scores = score_dialogues(backbone, [line.record["turns"] for line in chunk])
        yield from list(zip(chunk, scores, strict=True))[max(0, skip - begin) :]


def _from_record(record: Json) -> Score:
    return Score(
        tuple(record["turn_nll"]), tuple(record["turn_tokens"]), tuple(record["turn_words"])
    )


def _check_same_model(
    backbone: Backbone, lines: list[Line], scores: list[Score], out_path: Path
) -> None:
    """Refuses to go on behind another model's scores: the first line is scored again."""
    if not scores:
        return
    (again,) = score_dialogues(backbone, [lines[0].record["turns"]])
    if not math.isclose(again.nll, scores[0].nll, rel_tol=1e-3, abs_tol=1e-3):
        raise InputError(
            f"{out_path}, line 1: nll is {scores[0].nll}, with this model {again.nll}; the file is "
            "of another model, give another file for the output"
        )
