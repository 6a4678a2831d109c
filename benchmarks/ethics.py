"""What judging the candidates of a turn costs beside making them.

    python benchmarks/ethics.py [--model FOLDER] [--rounds 9] [--candidates 20] [--judged 5]

Every round makes a reply, then judges its candidates twice, all on the same threads: once as a bot
does, which has their vectors already, since coherence is rated by them; and once by a filter with
an encoder of its own, which has seen none. Reported are medians and ranges, and the ratio to the
turn of the same round. The context is another in every round, so its vector is not remembered.
Processor time beside the time on the clock: the former is what other programs disturb least.
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

# As the command line of the product does; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from chatbot import Chatbot, Sampling
from chatbot.embedding import Embedder
from chatbot.ethics import EthicsFilter

MESSAGES = {
    "en": [
        "What did you do at the weekend?", "My cat ran away this morning.",
        "Which book should I read next?", "I think I failed my exam.",
        "Do you believe in ghosts?", "I'm learning to play the guitar.",
        "What is your favourite season?", "My boss shouted at me today.",
        "Tell me about your family.", "I want to move to another city.",
    ],
    "ko": [
        "주말에 뭐 했어?", "오늘 아침에 고양이가 집을 나갔어.", "다음에 무슨 책을 읽을까?",
        "시험에 떨어진 것 같아.", "귀신을 믿어?", "요즘 기타를 배우고 있어.",
        "어떤 계절을 제일 좋아해?", "오늘 상사가 나한테 소리를 질렀어.", "가족 이야기 좀 해 줘.",
        "다른 도시로 이사 가고 싶어.",
    ],
}  # fmt: skip

Result = TypeVar("Result")

Times = tuple[float, float]
"""Seconds on the clock and of processors."""


def main() -> None:
    """Runs the rounds and prints a few lines a language."""
    options = _options()
    torch.set_num_threads(options.threads)
    bot = Chatbot.load(options.model, device="cpu", guarded=False)
    filters = {
        "in the bot": EthicsFilter.load(embedder=bot.steerer.embedder),
        "on its own": EthicsFilter.load(embedder=Embedder.load()),
    }
    sampling = Sampling(candidates=options.candidates)
    for language, messages in MESSAGES.items():
        times: dict[str, list[Times]] = defaultdict(list)
        lengths: list[int] = []
        for number in range(-1, options.rounds):  # round -1 warms up
            message = messages[number % len(messages)]
            turn, reply = _timed(partial(bot.respond, message, seed=number + 1, sampling=sampling))
            texts = [one.text for one in reply.candidates if one.text][: options.judged]
            judged = {
                name: _timed(partial(ethics.assess, [message], texts))[0]
                for name, ethics in filters.items()
            }
            if number >= 0:
                times["turn"].append(turn)
                for name, spent in judged.items():
                    times[name].append(spent)
                lengths += [len(text.split()) for text in texts]
        words = f"candidates of {statistics.mean(lengths):.1f} words"
        print(f"{language}: a turn takes {_told(times['turn'])}, {words}")
        for name in filters:
            ratios = [
                (one[0] / turn[0], one[1] / turn[1])
                for one, turn in zip(times[name], times["turn"], strict=True)
            ]
            print(f"  judging {name} {_told(times[name])}; of the turn {_told(ratios)}")
    print(f"{options.rounds} rounds, {options.candidates} candidates, {options.threads} threads;")
    print(f"clock, then processor time: median (least to most); load {os.getloadavg()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="model folder; the shipped one if left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--judged", type=int, help="only the best of them; all if left out")
    return parser.parse_args()


def _timed(run: Callable[[], Result]) -> tuple[Times, Result]:
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    return (time.perf_counter() - clock, time.process_time() - processor), result


def _told(values: list[Times]) -> str:
    """Of both columns."""
    return " and ".join(
        f"{statistics.median(column):.3f} ({min(column):.3f} to {max(column):.3f})"
        for column in zip(*values, strict=True)
    )


if __name__ == "__main__":
    main()
