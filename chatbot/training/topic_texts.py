"""Gathers labelled texts of others for the detector of topics from the folders of the data.

Three kinds: messages labelled by topic; statements about groups from hate-speech sets, which count
half because they are no messages to a bot; turns of ordinary dialogues without a word of the lists
of the topics, as `none`.
"""

import json
import lzma
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attribute_models.lexicon import load_shipped, shipped_lists
from chatbot.errors import TrainingError

SENSITIVE = ("politics", "religion", "sexual", "race", "crime")

Wanted = Mapping[str, int]

DIALOGUES: Mapping[str, Wanted] = {
    "en": {
        "dailydialog": 500, "empathetic": 500, "personachat": 300, "switchboard": 200,
        "self_dialogue": 300, "esconv": 300, "dream": 200, "meld": 200, "chitchat": 300,
        "cmu_dog": 200,
    },
    "ko": {
        "songys_chatbot": 500, "smilestyle": 300, "hulic_human": 300, "xpersona_ko": 150,
        "kocosa": 150, "carecall_feedback": 100,
    },
}  # fmt: skip
"""Language -> source -> turns taken."""

GROUPS: Mapping[str, Mapping[str, Wanted]] = {
    "en": {
        name: dict.fromkeys(SENSITIVE, n)
        for name, n in (
            ("socialbiasframes", 150), ("hatemoji", 120), ("ethos", 60), ("hatexplain", 60),
            ("toxigen", 100), ("surge_toxicity", 50),
        )
    },
    "ko": {
        "kmhas": {"politics": 400, "religion": 140, "race": 30},
        "kosbi": {"politics": 80, "religion": 120, "race": 180, "crime": 40},
        "hatescore": {"religion": 60, "race": 40},
        "kodoli": {"sexual": 200},
        "curse": {"sexual": 40},
    },
}  # fmt: skip
"""Language -> source -> topic -> statements taken at most."""

_MOST_DIALOGUES = 4_000
_WEIGHT_OF_STATEMENTS = 0.5


def gather(data: Path, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of {"text", "topic", "source", "weight"} from a folder of data.

    Args:
        data: holds `sensitive/en.jsonl.xz`, `dialogue/{en,ko}` and `ethics/{en,ko}`.

    Raises:
        TrainingError: a file is missing.
    """
    for row in _rows(data / "sensitive" / "en.jsonl.xz"):
        # Made from frames, so that many are alike.
        weight = _WEIGHT_OF_STATEMENTS if row["source"] == "handwritten-frames" else 1.0
        yield {"text": row["text"], "topic": row["topic"], "source": row["source"]} | {
            "weight": weight
        }
    for language in ("en", "ko"):
        rng = random.Random(seed)
        yield from _plain_turns(data / "dialogue" / language, language, rng)
        yield from _statements(data / "ethics" / language, language, rng)


def _plain_turns(folder: Path, language: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    listed = _listed_words(language)
    for source, n_wanted in DIALOGUES[language].items():
        dialogues = list(_rows(folder / f"{source}.train.jsonl.xz"))[:_MOST_DIALOGUES]
        turns = dict.fromkeys(turn for dialogue in dialogues for turn in dialogue["turns"])
        plain = [turn for turn in turns if 6 < len(turn) < 220 and not listed.search(turn)]
        for turn in rng.sample(plain, min(n_wanted, len(plain))):
            yield {"text": turn, "topic": "none", "source": f"dialogue/{source}", "weight": 1.0}


def _statements(folder: Path, language: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    for source, wanted in GROUPS[language].items():
        rows = [
            row
            for row in _rows(folder / f"{source}.jsonl.xz")
            if row["split"] == "train" and not row.get("context") and len(row["text"]) < 400
        ]
        for topic, n_wanted in wanted.items():
            texts = [row["text"] for row in rows if row["category"] == topic]
            for text in rng.sample(texts, min(n_wanted, len(texts))):
                yield {
                    "text": text,
                    "topic": topic,
                    "source": f"ethics/{source}",
                    "weight": _WEIGHT_OF_STATEMENTS,
                }


def _listed_words(language: str) -> re.Pattern[str]:
    """Finds any word of the shipped lists of the topics; in Korean as part of a word too."""
    files = [
        file
        for topic in SENSITIVE
        for file in shipped_lists()[topic]
        if file.parent.name == language
    ]
    words = {word for file in files for word in load_shipped(file).weights if len(word) > 1}
    joined = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.compile(joined if language == "ko" else rf"\b(?:{joined})(?:s|es|ed|ing)?\b", re.I)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read: {error}; give the folder of the data"
        ) from error
