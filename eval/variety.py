"""How varied the bot's answers are: what no judge of meaning is needed for.

Reads what `chatbot eval respond` writes. Knows lines of context and response; how they came to be
is known elsewhere.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatbot.ngrams import is_korean
from eval.control.metrics import distinct
from eval.jsonl import Line, read_lines
from eval.respond import check_context
from eval.ssa.detectors import generic_reply
from eval.ssa.words import normalise, words
from eval.stats import Interval, wilson


@dataclass(frozen=True, slots=True)
class Share:
    """How many of some replies have a property."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of

    @property
    def interval(self) -> Interval:
        return wilson(self.count, self.of)

    def __str__(self) -> str:
        return f"{self.value:.1%} {self.interval} ({self.count} of {self.of:,})"


@dataclass(frozen=True, slots=True)
class Variety:
    """What is told of a set of replies.

    Attributes:
        distinct_1, distinct_2: different words and pairs of words over all of them (Li et al.
            2016); they fall with the number of replies.
        repeats: replies that are, word for word, a turn the person has said.
        generic: replies of which every sentence can be said to nearly anything.
        shared: replies given to another context of the file as well.
        own_language: replies in the script, Hangul or not, of the turn they answer.
        words: of a reply, on average.
    """

    replies: int
    distinct_1: float
    distinct_2: float
    repeats: Share
    generic: Share
    shared: Share
    own_language: Share
    words: float

    def __str__(self) -> str:
        rows = {
            "replies": f"{self.replies:,}",
            "words a reply": f"{self.words:.1f}",
            "distinct-1": f"{self.distinct_1:.3f}",
            "distinct-2": f"{self.distinct_2:.3f}",
            "repeat the person": self.repeats,
            "generic": self.generic,
            "given to another context too": self.shared,
            "in the person's language": self.own_language,
        }
        return "\n".join(f"{name:30}{value}" for name, value in rows.items())


def variety_of_file(path: str | Path) -> Variety:
    """Measures the answers of a file.

    Raises:
        InputError: no such file, an empty one, or a line without context or response.
    """
    lines = read_lines(path, _check_answer)
    return variety_of(
        [line.record["context"] for line in lines], [line.record["response"] for line in lines]
    )


def variety_of(contexts: Sequence[Sequence[str]], replies: Sequence[str]) -> Variety:
    """Measures replies, at least one, each with the turns before it, oldest first."""
    n = len(replies)
    said = [tuple(words(normalise(reply))) for reply in replies]
    times = Counter(said)
    # The person's turns: the last and every second before.
    heard = [{tuple(words(normalise(turn))) for turn in turns[-1::-2]} for turns in contexts]
    return Variety(
        replies=n,
        distinct_1=distinct(replies, 1),
        distinct_2=distinct(replies, 2),
        repeats=Share(sum(reply in turns for reply, turns in zip(said, heard, strict=True)), n),
        generic=Share(sum(generic_reply(normalise(reply)) for reply in replies), n),
        shared=Share(sum(times[reply] > 1 for reply in said), n),
        own_language=Share(sum(map(_same_script, replies, (turns[-1] for turns in contexts))), n),
        words=sum(map(len, said)) / n,
    )


def _same_script(reply: str, turn: str) -> bool:
    return is_korean(reply) == is_korean(turn)


def _check_answer(line: Line) -> None:
    check_context(line)
    if not isinstance(line.record.get("response"), str):
        raise line.error("expected `response`, a text, as `chatbot eval respond` writes")
