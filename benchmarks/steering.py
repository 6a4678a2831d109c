"""What steering costs, as a multiple of plain decoding: the three modes and their rivals.

    python benchmarks/steering.py [--model FOLDER] [--rounds 9] [--json OUT.jsonl]

Every round runs each case once, in an order of its own, on the same prompt with the same seed, type
of numbers and threads; reported are the median and the range of the rounds' ratios to the plain
case of the same round, as times on a busy machine mean nothing alone. On a CPU the ratio is of
processor time, which other programs disturb least; candidates a second are by the clock. No reply
ends before its last piece, so that all cases draw equally many, and no attribute is ever content
with what has come, so that the modes that follow gradients take every step they may.

Rivals:

- *best of N*: plain decoding, and ranking among its candidates; its cost is that of `plain`.
- *constant bias*: weighted decoding, a constant added to the logits of the list's pieces, at every
  piece, without budget, gate, calibration or words of several pieces.
- *PPLM as published* (`naive_pplm.py`): one candidate after another, every clean pass over the
  whole reply. A round draws few of its candidates and counts their mean time N times.

Then, without ratios: the seconds until all candidates of a reply are drawn, where replies end by
themselves; and the peak memory of each case in a process of its own.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# As the command line of the product does; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from naive_pplm import Published, reply
from torch import Tensor

from chatbot import Chatbot, Controls, Sampling
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.perturbation import Perturbation
from chatbot.prompt import build_context
from chatbot.steering import start_steering

TURNS = ["Hi! What did you do today?"]

LATENCY_TURNS = (
    "Hi! What did you do today?",
    "I finally finished my report.",
    "Do you have any pets?",
    "My brother is coming over this evening.",
    "It has been raining all week.",
    "Can you recommend something to do on Saturday?",
)

THREE = {"joy": 0.5, "surprise": 0.3, "game": 0.4}

CASES = {
    "plain": None,
    "hidden, 1 attribute": Controls({"joy": 0.5}),
    "hidden, 1 attribute, never met": Controls({"anger": 1.0}),
    "hidden, 1 negative": Controls({"joy": -0.5}),
    "hidden, 3 attributes": Controls(THREE),
    "layers, 1 attribute": Controls({"joy": 0.5}, mode="layers"),
    "layers, 3 attributes": Controls(THREE, mode="layers"),
    "pplm, 1 attribute": Controls({"joy": 0.5}, mode="pplm"),
    "pplm, 3 attributes": Controls(THREE, mode="pplm"),
}

BIAS = "constant bias (rival)"
NAIVE = "PPLM as published (rival)"
TOLD_LATENCY = ("plain", "hidden, 1 attribute", "layers, 1 attribute", "pplm, 1 attribute")


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

    def shift(self, logits: Tensor, hidden: Tensor) -> None:
        logits[:, self.support] += self.bias

    def read(self, ids: Sequence[int]) -> None:
        """Takes no notice."""

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Treats all rows alike."""


@dataclass
class Times:
    """Of one case: processor (on a GPU, clock) seconds and clock seconds of each round."""

    spent: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


class Bench:
    """A bot and the cases that are drawn with it."""

    def __init__(self, options: argparse.Namespace):
        torch.set_num_threads(options.threads)
        loaded = Backbone.load(options.model, dtype=options.dtype, device=options.device)
        self.options = options
        self.backbone = loaded
        self.endless = Endless(loaded.model, loaded.tokenizer, name="endless", digest="")
        self.bot = Chatbot(loaded)  # calibrated on replies that end
        joy = self.bot.steerer.bound("joy", "en")
        assert joy is not None
        self.joy = joy.bag.support
        self.cases: dict[str, Callable[[int], object]] = {
            name: lambda seed, controls=controls: self.drawn(self.endless, TURNS, controls, seed)  # type: ignore[misc]
            for name, controls in CASES.items()
        }
        self.cases[BIAS] = self.biased
        self.cases[NAIVE] = self.naive
        self.cases["plain again"] = self.cases["plain"]

    def drawn(
        self, backbone: Backbone, turns: Sequence[str], controls: Controls | None, seed: int
    ) -> object:
        """All candidates of one reply, prepared and drawn."""
        sampling = self.sampling(ends=backbone is not self.endless)
        steering = perturbation = None
        if controls is not None:
            steering = start_steering(
                self.bot.steerer, [controls], [turns],
                candidates=sampling.candidates, temperature=sampling.temperature,
            )  # fmt: skip
            settings = controls.gradient_settings
            if settings is not None and controls.mode != "hidden" and steering is not None:
                perturbation = Perturbation(
                    backbone, settings, steering.pulls, mode=controls.mode,
                    fusion=controls.fusion, kl_limit=controls.kl_limit, note=steering.note_moved,
                )  # fmt: skip
        return draw(
            backbone, [self.prompt(turns)], sampling=sampling, seeds=[seed],
            steering=steering, perturbation=perturbation,
        )  # fmt: skip

    def biased(self, seed: int) -> object:
        bias: object = ConstantBias(self.joy, 3.0)
        return draw(
            self.endless, [self.prompt(TURNS)], sampling=self.sampling(ends=False), seeds=[seed],
            steering=bias,  # type: ignore[arg-type]
        )  # fmt: skip

    def naive(self, seed: int) -> object:
        """Few candidates; their time is counted for all."""
        return [
            reply(
                self.endless, self.prompt(TURNS), self.joy, pieces=self.options.tokens,
                generator=torch.Generator().manual_seed(seed + number), settings=Published(),
            )
            for number in range(self.options.naive_candidates)
        ]  # fmt: skip

    def scale(self, name: str) -> float:
        """What the time of a case is multiplied with, to be that of all candidates."""
        return self.options.candidates / self.options.naive_candidates if name == NAIVE else 1.0

    def prompt(self, turns: Sequence[str]) -> tuple[int, ...]:
        pieces = [self.backbone.pieces(turn) for turn in turns]
        return build_context(pieces, self.backbone.special).ids

    def sampling(self, *, ends: bool) -> Sampling:
        most = Sampling().max_new_tokens if ends else self.options.tokens
        return Sampling(candidates=self.options.candidates, max_new_tokens=most)

    def timed(self, name: str, seed: int) -> tuple[float, float]:
        """Seconds spent, and by the clock."""
        spent, wall = _now(self.backbone), time.perf_counter()
        self.cases[name](seed)
        spent, wall = _now(self.backbone) - spent, time.perf_counter() - wall
        return spent * self.scale(name), wall * self.scale(name)


def main() -> None:
    options = _options()
    bench = Bench(options)
    if options.memory_of:
        print(json.dumps(measure_memory(bench, options.memory_of)))
        return
    print(f"load average {os.getloadavg()[0]:.1f}, {vars(options)}", flush=True)
    times = rounds(bench)
    lines: list[dict[str, object]] = [{"options": vars(options)}]
    lines += print_costs(times, options)
    if options.replies:
        lines += print_latency(bench)
    if options.memory:
        lines += print_memory(list(bench.cases))
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    if options.json:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        Path(options.json).write_text(text, encoding="utf-8")


def rounds(bench: Bench) -> dict[str, Times]:
    """Every case once a round; the first round warms up."""
    times = {name: Times() for name in bench.cases}
    for number in range(bench.options.rounds + 1):
        for name in random.Random(number).sample(list(times), len(times)):
            spent, wall = bench.timed(name, seed=number)
            if number:
                times[name].spent.append(spent)
                times[name].wall.append(wall)
        print(f"round {number} of {bench.options.rounds}", file=sys.stderr, flush=True)
    return times


def print_costs(times: dict[str, Times], options: argparse.Namespace) -> list[dict[str, object]]:
    """The table of costs; the same as lines for the file."""
    print(
        f"\n{options.candidates} candidates of {options.tokens} pieces, "
        f"{options.rounds} rounds, processor time (on a GPU, the clock's):\n"
    )
    print("| case | x plain | range | ms a step | candidates/s | x published PPLM |")
    print("|---|---:|---|---:|---:|---:|")
    lines: list[dict[str, object]] = []
    for name, took in times.items():
        ratios = [
            mine / plain for mine, plain in zip(took.spent, times["plain"].spent, strict=True)
        ]
        faster = [naive / mine for mine, naive in zip(took.wall, times[NAIVE].wall, strict=True)]
        per_second = options.candidates / statistics.median(took.wall)
        print(
            f"| {name} | {statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} | "
            f"{1000 * statistics.median(took.spent) / options.tokens:.2f} | {per_second:.2f} | "
            f"{statistics.median(faster):.1f} |"
        )
        lines.append({"case": name, "spent_s": took.spent, "wall_s": took.wall})
    return lines


def print_latency(bench: Bench) -> list[dict[str, object]]:
    """Seconds until all candidates are drawn, where replies end by themselves."""
    seconds: dict[str, list[float]] = {name: [] for name in TOLD_LATENCY}
    for number in range(bench.options.replies):
        turns = [LATENCY_TURNS[number % len(LATENCY_TURNS)]]
        for name in seconds:
            begin = time.perf_counter()
            bench.drawn(bench.backbone, turns, CASES[name], number)
            seconds[name].append(time.perf_counter() - begin)
    print(f"\n{bench.options.replies} replies that end by themselves, by the clock:\n")
    print("| case | p50 s | p95 s | p50 x plain |")
    print("|---|---:|---:|---:|")
    plain = quantile(seconds["plain"], 0.5)
    for name, took in seconds.items():
        middle, late = quantile(took, 0.5), quantile(took, 0.95)
        print(f"| {name} | {middle:.3f} | {late:.3f} | {middle / plain:.2f} |")
    return [{"latency": name, "seconds": took} for name, took in seconds.items()]


def print_memory(names: Sequence[str]) -> list[dict[str, object]]:
    """Peak memory of every case above the loaded bot, each in a process of its own."""
    if sys.platform != "linux":
        print("\nmemory is measured on Linux only")
        return []
    print("\npeak memory above the loaded bot:\n\n| case | MB |\n|---|---:|", flush=True)
    lines = []
    for name in names:
        command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines.append(json.loads(told.splitlines()[-1]))
        print(f"| {name} | {lines[-1]['peak_bytes'] / 1e6:.1f} |", flush=True)
    return lines


def measure_memory(bench: Bench, name: str) -> dict[str, object]:
    """Growth at the peak of one case, in this process, which has drawn two pieces before."""
    draw(
        bench.endless, [bench.prompt(TURNS)],
        sampling=Sampling(candidates=1, max_new_tokens=2), seeds=[0],
    )  # fmt: skip
    if bench.backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        bench.cases[name](1)
        return {"memory": name, "peak_bytes": torch.cuda.max_memory_allocated() - before}
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    bench.cases[name](1)
    return {"memory": name, "peak_bytes": _resident("VmHWM") - before}


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _now(backbone: Backbone) -> float:
    if backbone.device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()  # what was begun is done
    return time.perf_counter()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of a generator; the shipped one if left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=20, help="pieces of each reply")
    parser.add_argument("--naive-candidates", type=int, default=1, help="drawn of it in a round")
    parser.add_argument("--replies", type=int, default=30, help="for the latency; 0 leaves it out")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="file for all times as JSON lines")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
