"""What the scorer learns from: dialogues by source, normalised, and counts over them."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from chatbot.training.corpus import Split, corpus_files, read_dialogues
from eval.ssa.features import text_key
from eval.ssa.words import normalise, words

Turns = list[str]

WEIGHTS: Mapping[str, float] = {
    "dailydialog": 3, "empathetic": 3, "topical_chat": 3, "personachat": 2.5,
    "self_dialogue": 2.5, "chitchat": 2, "synthetic_persona_chat": 2, "dream": 2,
    "commonsense_dialogues": 1.5, "cmu_dog": 1, "esconv": 1, "meld": 1, "personality_qna": 0.7,
    "locomo": 0.5, "emorynlp": 0.5, "switchboard": 0.5, "persuasion": 0.5, "redial": 0.5,
    "sgd": 0.4, "ccpe": 0.3, "chatterbot": 0.3,
}  # fmt: skip
"""How often a source is drawn; those not named are not used."""

UNSEEN = frozenset({"dream", "commonsense_dialogues", "meld"})
"""Sources that the reader is never trained on: how it does on them is how it transfers."""

_LEAST_COUNT = 5


def read_sources(
    data: Path, split: Split, *, only: Collection[str] | None = WEIGHTS.keys()
) -> dict[str, list[Turns]]:
    """The normalised dialogues of two turns or more, by source.

    Args:
        only: sources to read; None for all.

    Raises:
        CorpusError: the folder has no dialogue files, or one is broken.
    """
    found: dict[str, list[Turns]] = defaultdict(list)
    for file in corpus_files(data, split=split):
        if only is not None and file.name.partition(".")[0] not in only:
            continue
        for dialogue in read_dialogues(file):
            if len(dialogue.turns) > 1:
                found[dialogue.source].append([normalise(turn) for turn in dialogue.turns])
    return dict(sorted(found.items()))


def document_frequencies(turns: Sequence[str]) -> dict[str, float]:
    """The idf of every word said in two turns or more: log of turns per turn that has it."""
    counts = Counter(word for turn in turns for word in set(words(turn)))
    return {word: math.log(len(turns) / n) for word, n in counts.items() if n > 1}


def tables_of(turns: Sequence[str]) -> tuple[dict[int, float], dict[int, float]]:
    """By key: idf of words, and log counts of whole replies, for what is not rare."""
    limit = math.log(len(turns) / _LEAST_COUNT) + 1e-9
    idf = {
        text_key(word): value
        for word, value in document_frequencies(turns).items()
        if value <= limit
    }
    replies = Counter(" ".join(words(turn)) for turn in turns)
    habit = {text_key(r): math.log(n) for r, n in replies.items() if r and n >= _LEAST_COUNT}
    return idf, habit


def fragments(
    sources: Mapping[str, Sequence[Turns]], n: int, rng: random.Random, *, length: int = 6
) -> list[tuple[str, Turns]]:
    """About `n` runs of `length` turns, drawn from the sources by weight."""
    total = sum(WEIGHTS[source] for source in sources)
    drawn = []
    for source, dialogues in sources.items():
        pool = [(d, i) for d in dialogues for i in range(0, max(1, len(d) - 3), length)]
        rng.shuffle(pool)
        for dialogue, i in pool[: int(n * WEIGHTS[source] / total)]:
            drawn.append((source, dialogue[i : i + length]))
    return drawn
