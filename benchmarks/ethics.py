"""What judging the candidates of a turn costs beside making them.

    python benchmarks/ethics.py [--model FOLDER] [--rounds 9] [--candidates 20] [--judged 5]

Every round makes a reply, then judges its candidates with a filter that has not seen them, both on
the same threads; reported are medians and ranges, and the ratio of the same round's times. The
context is another in every round, so its vector is not remembered. Processor time beside the time
on the clock: the former is what other programs disturb least.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

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


def main() -> None:
    """Runs the rounds and prints one line a language."""
    options = _options()
    torch.set_num_threads(options.threads)
    bot = Chatbot.load(options.model, device="cpu", guarded=False)
    embedder = Embedder.load()
    ethics = EthicsFilter.load(embedder=embedder)
    sampling = Sampling(candidates=options.candidates)
    for language, messages in MESSAGES.items():
        turns, judging, ratios, cpu_ratios, lengths = [], [], [], [], []
        for number in range(-1, options.rounds):  # round -1 warms up
            message = messages[number % len(messages)]
            answer = partial(bot.respond, message, seed=number + 1, sampling=sampling)
            texts = [one.text for one in answer().candidates if one.text][: options.judged]
            turn = _timed(answer)
            judge = _timed(partial(ethics.assess, [message], texts))
            if number >= 0:
                turns.append(turn[0])
                judging.append(judge[0])
                ratios.append(judge[0] / turn[0])
                cpu_ratios.append(judge[1] / turn[1])
                lengths += [len(text.split()) for text in texts]
        print(
            f"{language}: a turn of {options.candidates} candidates (mean of "
            f"{statistics.mean(lengths):.1f} words) takes {_told(turns)} s, judging them "
            f"{_told(judging)} s; ratio {_told(ratios)}, of processor time {_told(cpu_ratios)}"
        )
    print(f"{options.rounds} rounds, {options.threads} threads, load {os.getloadavg()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="model folder; the shipped one if left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--judged", type=int, help="only the best of them; all if left out")
    return parser.parse_args()


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of processors."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
