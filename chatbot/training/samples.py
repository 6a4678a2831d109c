"""Dialogues of the bot with itself, for the model card: fixed openings, fixed seeds, unedited."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from chatbot.bot import Chatbot
from chatbot.errors import CorpusError
from chatbot.training.folders import replace_file

TURNS = 10

OPENINGS = (
    "Hi!",
    "Good morning! Did you sleep well?",
    "I finally passed my driving test today.",
    "My dog has been ill all week and I am worried.",
    "What do you like to do on a rainy Sunday?",
    "Do you have any brothers or sisters?",
    "I am thinking of learning to play the piano.",
    "Have you seen a good film lately?",
    "I burnt the dinner again. What should I cook instead?",
    "My best friend is moving to another country.",
    "Which would you rather visit, the mountains or the sea?",
    "I start a new job on Monday and I am a bit nervous.",
    "Our team won the final last night!",
    "I cannot decide what to give my mother for her birthday.",
    "The neighbours were so loud that I hardly slept.",
    "What is the best book you have ever read?",
    "안녕하세요! 오늘 하루는 어땠어요?",
    "요즘 날씨가 너무 추워서 밖에 나가기 싫어.",
    "주말에 친구랑 영화 보러 가기로 했어.",
    "저녁으로 뭐 먹을지 추천해 줄래?",
)
"""Written for this purpose; of no corpus."""


def self_chats(bot: Chatbot) -> Iterator[dict[str, object]]:
    """For each opening a dialogue of `TURNS` turns, the bot on both sides.

    Reply r of dialogue d, both from 0, is drawn with seed 1000 d + r.
    """
    for place, opening in enumerate(OPENINGS):
        turns = [opening]
        while len(turns) < TURNS:
            reply = bot.respond(turns, seed=1000 * place + len(turns) - 1)
            turns.append(reply.text)
        yield {"seed": 1000 * place, "turns": turns}


def write_samples(dialogues: Iterable[dict[str, object]], path: Path) -> None:
    """Writes the dialogues as JSONL, the file appearing when it is complete.

    Raises:
        ChatbotError: it cannot be written.
    """
    text = "".join(json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in dialogues)
    replace_file(path, text.encode())


def read_samples(path: Path) -> list[list[str]]:
    """The turns of each dialogue that `write_samples` wrote.

    Raises:
        CorpusError: no such file, or a line of another shape.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [[str(turn) for turn in json.loads(line)["turns"]] for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{path} holds no sample dialogues: {error!r}; write them with `chatbot train samples`"
        ) from error
