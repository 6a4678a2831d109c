"""What steering costs per drawn piece, as a multiple of plain decoding.

    python benchmarks/steering.py [--model FOLDER] [--rounds 9]

Every round runs each case once, in turn, on the same prompt with the same seed, type of numbers
and threads; reported are the median and the range of the rounds' ratios to the plain case of the
same round, as times on a busy machine mean nothing alone. On a CPU it is processor time, which
other programs disturb least. No reply ends before its last piece, so that all cases draw equally
many.

The rival is weighted decoding: a constant added to the logits of the list's pieces, at every
piece, without budget, gate, calibration or words of several pieces.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chatbot import Chatbot, Controls, Sampling
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.prompt import build_context
from chatbot.steering import start_steering

TURNS = ["Hi! What did you do today?"]

CASES = {
    "hidden, 1 attribute": {"joy": 0.5},
    "hidden, 1 attribute, never met": {"anger": 1.0},
    "hidden, 1 negative": {"joy": -0.5},
    "hidden, 3 attributes": {"joy": 0.5, "surprise": 0.3, "game": 0.4},
}


class Endless(Backbone):
    """A generator whose replies never end by themselves."""

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        logits[:, self.special.eos] = -1e4
        return logits


class ConstantBias:
    """Weighted decoding, with the face of `chatbot.steering.Steering`."""

    def __init__(self, support: Tensor, bias: float):
        self.support, self.bias = support, bias

    def shift(self, logits: Tensor) -> None:
        logits[:, self.support] += self.bias

    def read(self, ids: Sequence[int]) -> None:
        """Takes no notice."""

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Treats all rows alike."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    loaded = Backbone.load(options.model, dtype=options.dtype, device=options.device)
    backbone = Endless(loaded.model, loaded.tokenizer, name="endless", digest="")
    bot = Chatbot(loaded)  # calibrated on replies that end
    prompt = build_context([backbone.pieces(turn) for turn in TURNS], backbone.special).ids
    sampling = Sampling(candidates=options.candidates, max_new_tokens=options.tokens)

    def once(make_steering: Callable[[], object], seed: int) -> float:
        steering = make_steering()
        begin = _now(backbone)
        draw(backbone, [prompt], sampling=sampling, seeds=[seed], steering=steering)  # type: ignore[arg-type]
        return _now(backbone) - begin

    cases: dict[str, Callable[[], object]] = {"plain": lambda: None}
    for name, strengths in CASES.items():
        controls = Controls(strengths)
        cases[name] = lambda controls=controls: start_steering(  # type: ignore[misc]
            bot.steerer, [controls], [TURNS],
            candidates=options.candidates, temperature=sampling.temperature,
        )  # fmt: skip
    joy = bot.steerer.bound("joy", "en")
    assert joy is not None
    cases["constant bias (rival)"] = lambda: ConstantBias(joy.bag.support, 3.0)
    cases["plain again"] = lambda: None

    times: dict[str, list[float]] = {name: [] for name in cases}
    print(f"load average {os.getloadavg()[0]:.1f}, {options}", flush=True)
    for number in range(options.rounds + 1):
        for name, case in cases.items():
            took = once(case, seed=number)
            if number:  # the first round warms up
                times[name].append(took)
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    print(f"{'case':34} {'ratio':>6}   {'range':13} {'ms a step':>9}")
    for name, took in times.items():
        ratios = [mine / plain for mine, plain in zip(took, times["plain"], strict=True)]
        print(
            f"{name:34} {statistics.median(ratios):6.2f}   "
            f"[{min(ratios):.2f}-{max(ratios):.2f}]   "
            f"{1000 * statistics.median(took) / options.tokens:9.2f}"
        )


def _now(backbone: Backbone) -> float:
    if backbone.device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of a generator; the shipped one if left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=20, help="pieces of each reply")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
