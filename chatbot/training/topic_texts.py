"""Gathers labelled texts of others for the detector of topics from the folders of the data.

Four kinds: messages labelled by topic; statements about groups from hate-speech sets, which count
half because they are no messages to a bot; turns of ordinary dialogues without a word of the lists
of the topics, as `none`; Korean statements that name a group or an office, as of its topic.
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

NAMED: Mapping[str, str] = {
    "politics": "대통령 국회 여당 야당 민주당 국민의힘 정부 선거 좌파 우파 정치 정권 탄핵",
    "religion": "기독교 개신교 천주교 이슬람 무슬림 불교 교회 목사 스님 종교 하나님 예수 성경 "
    "신앙 신천지",
    "sexual": "동성애 게이 레즈비언 트랜스젠더 성소수자 성전환 퀴어 성관계 섹스 자위 포르노 "
    "야동 성욕",
    "race": "흑인 백인 인종 조선족 다문화 혼혈 난민 외국인노동자 이주민 이민자 동남아 중국인 "
    "유대인 탈북",
}
"""Topic -> words that name it in Korean statements, where few are labelled by topic."""

_NAMED_SOURCES = ("hatescore", "kosbi", "kmhas", "beep", "kodoli")
_MOST_NAMED = 150
_LONGEST_NAMED = 150
_MOST_DIALOGUES = 4_000
_WEIGHT_OF_STATEMENTS = 0.5


def gather(data: Path, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of {"text", "topic", "source", "weight"} from a folder of data; no text comes twice.

    Args:
        data: holds `sensitive/en.jsonl.xz`, `dialogue/{en,ko}` and `ethics/{en,ko}`.

    Raises:
        TrainingError: a file is missing.
    """
    known = set()
    for row in _all_rows(data, seed):
        if row["text"] not in known:
            known.add(row["text"])
            yield row


def _all_rows(data: Path, seed: int) -> Iterator[dict[str, Any]]:
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
    yield from _named(data / "ethics" / "ko", random.Random(seed))


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


def _named(folder: Path, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Statements without a context that have words of one topic of `NAMED` and of no other."""
    patterns = {topic: re.compile("|".join(words.split())) for topic, words in NAMED.items()}
    for source in _NAMED_SOURCES:
        found: dict[str, list[str]] = {topic: [] for topic in NAMED}
        for row in _rows(folder / f"{source}.jsonl.xz"):
            is_plain = row["split"] == "train" and not row.get("context")
            topics = [topic for topic, words in patterns.items() if words.search(row["text"])]
            if is_plain and len(topics) == 1 and len(row["text"]) <= _LONGEST_NAMED:
                found[topics[0]].append(row["text"])
        for topic, texts in found.items():
            for text in rng.sample(texts, min(_MOST_NAMED, len(texts))):
                yield {
                    "text": text,
                    "topic": topic,
                    "source": f"named/{source}",
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
