"""How fast replies are drawn, and what memory that takes; README.md says how it is measured.

    python benchmarks/decoding.py --model FOLDER --rounds 7 --json OUT.jsonl

Everything runs in one process, interleaved round by round; only memory is measured in processes
of its own. Seconds depend on the machine and on what else it does, so every case is told with its
ratio to another one of the same round.
"""

import argparse
import json
import math
import os
import platform
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
import transformers
from torch import Tensor

import chatbot.training
from chatbot import Chatbot, Sampling
from chatbot.backbone import Backbone
from chatbot.decoding import draw
from chatbot.prompt import clean_text

DTYPES = ("float32", "bfloat16")
CONTEXTS = (8, 32, 64, 128)
CONVERSATIONS = (1, 2, 4, 8)
USUAL_CONTEXT = 32
LEAST_REPLIES = 30


class Endless(Backbone):
    """A generator that never ends a reply, so that every case draws the same number of pieces."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, H) -> (B, V) float32, the end impossible."""
        logits = super().logits(hidden)
        logits[:, self.special.eos] = float("-inf")
        return logits

    @classmethod
    def of(cls, backbone: Backbone) -> "Endless":
        """The same model."""
        return cls(backbone.model, backbone.tokenizer, **backbone.identity)


@dataclass
class Case:
    """Something to time.

    Attributes:
        against: name of the case whose seconds of the same round it is divided by; None where
            the case only stands below others.
        n_pieces: drawn in one run.
        seconds: of each round, once it has run.
    """

    name: str
    run: Callable[[], object]
    n_pieces: int
    against: str | None = None
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Runs the rounds and prints the tables, or one memory case of its own process."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(measure_memory(options)))
        return
    lines: list[dict[str, object]] = [machine(options)]
    print(json.dumps(lines[0], indent=1), flush=True)
    loaded = {name: Endless.of(_backbone(options, name)) for name in (*DTYPES, "auto")}
    cases = {case.name: case for case in all_cases(loaded, options)}
    replies = Replies(loaded["auto"], options)
    for number in range(-1, options.rounds):  # round -1 warms up
        order = random.Random(number).sample([*cases.values(), replies], len(cases) + 1)
        for case in order:
            if isinstance(case, Replies):
                case.run(keep=number >= 0)
                continue
            begin = clock(loaded["auto"])
            case.run()
            if number >= 0:
                case.seconds.append(clock(loaded["auto"]) - begin)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    lines += print_cases(cases)
    lines += [replies.printed()]
    if options.memory:
        lines += print_memory(options)
    lines.append({"load_average_after": os.getloadavg()})
    print(f"\nload average before {lines[0]['load_average']}, after {os.getloadavg()}")
    if options.json:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        Path(options.json).write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="model folder; the shipped one if left out")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pieces", type=int, default=20, help="drawn for every candidate")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--json", help="file for the measurements as JSON lines")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def machine(options: argparse.Namespace) -> dict[str, object]:
    """What the numbers hold for."""
    backbone = _backbone(options, "auto")
    on_gpu = backbone.device.type == "cuda"
    return {
        "processor": torch.cuda.get_device_name(backbone.device) if on_gpu else _processor(),
        "device": str(backbone.device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "auto_dtype": str(backbone.model.dtype).removeprefix("torch."),
        "model": backbone.identity,
        "parameters": backbone.model.num_parameters(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "rounds": options.rounds,
        "candidates": options.candidates,
        "pieces": options.pieces,
        "load_average": os.getloadavg(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def clock(backbone: Backbone) -> float:
    """Seconds by the clock, once the device has done what was begun."""
    if backbone.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def _backbone(options: argparse.Namespace, dtype: str) -> Backbone:
    return Backbone.load(options.model, device=options.device, dtype=dtype)


# -- what is timed


def all_cases(loaded: dict[str, Endless], options: argparse.Namespace) -> list[Case]:
    """Cases (a), (c) and (d) of the README."""
    n = options.candidates * options.pieces
    prompt = random_prompts(loaded["auto"], USUAL_CONTEXT, 1)
    cases = []
    for dtype in DTYPES:
        ours, theirs = ours_of(loaded[dtype], prompt, options), theirs_of(loaded[dtype], options)
        cases.append(Case(f"generate of transformers, {dtype}", theirs, n))
        cases.append(Case(f"our loop, {dtype}", ours, n, f"generate of transformers, {dtype}"))
    for length in CONTEXTS:
        prompt = random_prompts(loaded["auto"], length, 1)
        run = ours_of(loaded["auto"], prompt, options)
        shortest = f"context of {CONTEXTS[0]} pieces"
        cases.append(Case(f"context of {length} pieces", run, n, shortest))
    for many in CONVERSATIONS:
        prompts = random_prompts(loaded["auto"], USUAL_CONTEXT, many)
        single = [ours_of(loaded["auto"], [prompt], options) for prompt in prompts]
        one_by_one = f"conversations: {many} one by one"
        cases.append(Case(one_by_one, lambda runs=single: [run() for run in runs], many * n))
        batch = ours_of(loaded["auto"], prompts, options)
        cases.append(Case(f"conversations: {many} in one batch", batch, many * n, one_by_one))
    return cases


def random_prompts(backbone: Backbone, length: int, many: int) -> list[list[int]]:
    """Encoder inputs of ordinary pieces behind one `<user>`."""
    rng = random.Random(length)
    ordinary = range(len(backbone.tokenizer) // 2, len(backbone.tokenizer))
    return [[backbone.special.user, *rng.choices(ordinary, k=length - 1)] for _ in range(many)]


def ours_of(
    backbone: Backbone, prompts: list[list[int]], options: argparse.Namespace
) -> Callable[[], object]:
    """A run of our loop."""
    sampling = Sampling(candidates=options.candidates, max_new_tokens=options.pieces)
    seeds = list(range(len(prompts)))

    def run() -> None:
        drawn = draw(backbone, prompts, sampling=sampling, seeds=seeds)
        assert {len(one.ids) for group in drawn for one in group} == {options.pieces}

    return run


def theirs_of(backbone: Backbone, options: argparse.Namespace) -> Callable[[], object]:
    """A run of `generate` that draws as many pieces from the same context in the same way."""
    special = backbone.special
    ids = torch.tensor(random_prompts(backbone, USUAL_CONTEXT, 1), device=backbone.device)
    mask = torch.ones_like(ids)
    never = [special.pad, special.bos, special.eos, special.user, special.bot, special.mask]

    def run() -> None:
        out = backbone.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=Sampling().temperature,
            top_k=0,
            num_return_sequences=options.candidates,
            max_new_tokens=options.pieces,
            suppress_tokens=never,
        )
        assert out.shape == (options.candidates, 1 + options.pieces)
        out.tolist()  # waits for a GPU

    return run


class Replies:
    """Case (b): whole replies through `Chatbot.respond`, to the sample dialogues."""

    def __init__(self, backbone: Backbone, options: argparse.Namespace):
        self.bot = Chatbot(backbone)
        self.sampling = Sampling(candidates=options.candidates, max_new_tokens=options.pieces)
        self.per_round = math.ceil(LEAST_REPLIES / options.rounds)
        self.contexts = sample_contexts()
        self.whole: list[float] = []
        self.first: list[float] = []

    def run(self, *, keep: bool) -> None:
        """Answers as many contexts as one round needs."""
        for _ in range(self.per_round):
            seed = len(self.whole)
            arrived: list[float] = []
            begin = clock(self.bot.backbone)
            self.bot.respond(
                self.contexts[seed % len(self.contexts)],
                seed=seed,
                sampling=self.sampling,
                on_progress=lambda _: arrived.append(time.perf_counter()),  # noqa: B023
            )
            if keep:
                self.whole.append(clock(self.bot.backbone) - begin)
                self.first.append(arrived[0] - begin)

    def printed(self) -> dict[str, object]:
        """Prints the latencies; the same as a line for the file."""
        print(f"\nlatency of {len(self.whole)} replies of {self.sampling.max_new_tokens} pieces:")
        for name, seconds in (("whole reply", self.whole), ("first piece", self.first)):
            middle, late = quantile(seconds, 0.5), quantile(seconds, 0.95)
            print(f"  {name}  p50 {middle:.3f} s   p95 {late:.3f} s   p95/p50 {late / middle:.2f}")
        return {"case": "reply", "seconds": self.whole, "first_piece_seconds": self.first}


def sample_contexts() -> list[list[str]]:
    """Turns of the sample dialogues up to a person's turn, seven at most."""
    file = Path(chatbot.training.__file__).with_name("sample.jsonl")
    contexts = []
    for line in file.read_text(encoding="utf-8").splitlines():
        turns = [clean_text(turn) for turn in json.loads(line)["turns"]]
        contexts += [turns[max(0, end - 7) : end] for end in range(1, len(turns), 2)]
    random.Random(0).shuffle(contexts)
    return contexts


# -- memory


def measure_memory(options: argparse.Namespace) -> dict[str, object]:
    """Peak of one case above what a model takes that has drawn two pieces, in this process."""
    loaded = dict.fromkeys((*DTYPES, "auto"), Endless.of(_backbone(options, "auto")))
    case = next(case for case in all_cases(loaded, options) if case.name == options.memory_of)
    least = argparse.Namespace(candidates=1, pieces=2)  # the code of the libraries is loaded here
    ours_of(loaded["auto"], random_prompts(loaded["auto"], 2, 1), least)()
    theirs_of(loaded["auto"], least)()
    if loaded["auto"].device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        case.run()
        peak = torch.cuda.max_memory_allocated()
    else:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        case.run()
        peak = _resident("VmHWM")
    return {"case": case.name, "before_bytes": before, "peak_bytes": peak}


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def print_memory(options: argparse.Namespace) -> list[dict[str, object]]:
    """Runs each case in a process of its own and prints its peak."""
    if sys.platform != "linux":
        print("\nmemory is measured on Linux only")
        return []
    usual = f"our loop, {DTYPES[0]}"
    named = [f"context of {length} pieces" for length in CONTEXTS]
    named += [f"conversations: {many} in one batch" for many in CONVERSATIONS]
    print("\npeak memory above the loaded model, number type auto:", flush=True)
    lines = []
    for name in (usual, f"generate of transformers, {DTYPES[0]}", *named):
        command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines.append(json.loads(told.splitlines()[-1]) | {"measure": "memory"})
        grown = lines[-1]["peak_bytes"] - lines[-1]["before_bytes"]
        label = name.removesuffix(f", {DTYPES[0]}")
        print(f"  {label:36} {grown / 1e6:8.1f} MB", flush=True)
    return lines


# -- tables


def print_cases(cases: dict[str, Case]) -> list[dict[str, object]]:
    """Prints seconds and ratios; the same as lines for the file."""
    print(f"\n{'case':36} {'median s':>9} {'pieces/s':>9}   ratio to what: median [range]")
    lines: list[dict[str, object]] = []
    for case in cases.values():
        middle = statistics.median(case.seconds)
        row = f"{case.name:36} {middle:9.3f} {case.n_pieces / middle:9.0f}"
        line: dict[str, object] = {"case": case.name, "seconds": case.seconds}
        if case.against and case.against != case.name:
            ratios = [
                own / other
                for own, other in zip(case.seconds, cases[case.against].seconds, strict=True)
            ]
            line |= {"against": case.against, "ratios": ratios}
            row += f"   {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
            row += f" of {case.against}"
        print(row)
        lines.append(line)
    return lines


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


if __name__ == "__main__":
    main()
