"""Seconds of a reply by family, plain and steered, on random models side by side.

    python benchmarks/backbones.py [--size small] [--device cuda] [--dtype bfloat16] [--json FILE]

Random weights compute as long as trained ones. Every family is measured in one process, its cases
in all number types interleaved round by round; the median of the rounds is told. "generate" is the
plain loop of transformers with the same candidates and number of pieces, no end, as a yardstick.
"int8" is bfloat16 with the weights of linear layers in int8, for CPUs.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from random_models import FAMILIES, Size, random_model
from transformers import GenerationConfig

from chatbot import Chatbot, Controls, Sampling
from chatbot.backbone import Backbone
from chatbot.backbones.int8 import to_int8

DTYPES = ("float32", "bfloat16", "float16", "int8")
SIZES = {
    "tiny": Size(),
    "small": Size(width=256, heads=8, blocks=4, rows=8_192, positions=256),
    "base": Size(width=768, heads=12, blocks=12, rows=32_000, positions=512),
}
TURNS = ["Hello there! How are you today?", "I am happy. And you?", "I love this game and music."]
MODES = ("hidden", "layers", "pplm")


class Endless(Backbone):
    """Draws the same number of pieces in every case: nothing ends a reply."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, H) -> (B, V) float32, every end impossible."""
        logits = super().logits(hidden)
        logits[..., list(self._format.ends)] = -1e4  # as good as impossible, and finite
        return logits

    def is_end(self, ids: Any) -> bool:
        """Never, whatever the speaker's name is."""
        return False


def cases(
    backbone: Backbone, sampling: Sampling, modes: Sequence[str]
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    bot = Chatbot(backbone)
    if modes:
        bot.steerer.bound("joy", "en")

    def reply(controls: Controls) -> Callable[[], object]:
        return lambda: bot.respond(TURNS, seed=1, sampling=sampling, controls=controls)

    found: dict[str, Callable[[], object]] = {"generate": generate(backbone, sampling)}
    found["plain"] = reply(Controls())
    for mode in modes:
        found[mode] = reply(Controls({"joy": 1.0}, mode=mode))
    return found


def generate(backbone: Backbone, sampling: Sampling) -> Callable[[], object]:
    """The loop of transformers, which reads the prompt once for every candidate."""
    prompt = torch.tensor([backbone.prompt(TURNS).ids], device=backbone.device)
    settings = GenerationConfig(
        do_sample=True, temperature=sampling.temperature, top_k=0,
        num_return_sequences=sampling.candidates, max_new_tokens=sampling.max_new_tokens,
        min_new_tokens=sampling.max_new_tokens, eos_token_id=backbone.special.eos,
        pad_token_id=backbone.special.pad, bos_token_id=backbone.special.bos,
        decoder_start_token_id=backbone.special.bos,
    )  # fmt: skip
    mask = torch.ones_like(prompt)
    return lambda: backbone.model.generate(prompt, attention_mask=mask, generation_config=settings)


def endless(name: str, dtype: str, arguments: argparse.Namespace) -> Backbone:
    """A random model of a family."""
    torch.manual_seed(0)
    model, tokenizer = random_model(name, SIZES[arguments.size])
    number = torch.bfloat16 if dtype == "int8" else getattr(torch, dtype)
    model = model.to(arguments.device, number)
    if dtype == "int8":
        to_int8(model)
    return Endless(model, tokenizer, name=name, digest=name)


def measured(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Median seconds of each case of a family, for each number type."""
    sampling = Sampling(candidates=arguments.candidates, max_new_tokens=arguments.pieces)
    found, timed = [], {}
    for dtype in arguments.dtype:
        backbone = endless(name, dtype, arguments)
        these = cases(backbone, sampling, arguments.modes)
        timed |= {(dtype, case): run for case, run in these.items()}
        told = {"family": name, "size": arguments.size, "device": arguments.device, "dtype": dtype}
        model = backbone.model
        bytes_ = {"parameters": model.num_parameters(), "bytes": model.get_memory_footprint()}
        found.append(told | bytes_)
    seconds: dict[tuple[str, str], list[float]] = {one: [] for one in timed}
    for round_ in range(arguments.rounds + 1):
        for one, run in timed.items():
            begin = clock(arguments)
            run()
            if round_:  # the first one warms up
                seconds[one].append(clock(arguments) - begin)
    for told in found:
        told |= {
            case: statistics.median(values)
            for (dtype, case), values in seconds.items()
            if dtype == told["dtype"]
        }
    return found


def clock(arguments: argparse.Namespace) -> float:
    """Seconds: of the processor where asked, which other programs disturb less."""
    if arguments.device != "cpu":
        torch.accelerator.synchronize()  # what was begun is done
    return time.process_time() if arguments.cpu_time else time.perf_counter()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--size", default="tiny", choices=list(SIZES))
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=DTYPES)
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor seconds, not the clock's"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.device != "cpu" and (arguments.cpu_time or "int8" in arguments.dtype):
        parser.error("--cpu-time and int8 are for the CPU; leave them out")
    return arguments


def main() -> None:
    arguments = options()
    if arguments.device.startswith("cuda"):
        print(torch.cuda.get_device_name(arguments.device))
    head = "  ".join(f"{mode:>8}" for mode in arguments.modes)
    print(f"{'family':16} {'dtype':8} {'weights':>18} {'generate':>10} {'plain':>10}  {head}")
    for name in arguments.families:
        for found in measured(name, arguments):
            plain = found["plain"]
            ratios = "  ".join(f"x{found[mode] / plain:7.2f}" for mode in arguments.modes)
            print(
                f"{name:16} {found['dtype']:8} {found['parameters'] / 1e6:6.1f}M "
                f"{found['bytes'] / 1e6:7.1f} MB {found['generate']:8.3f} s {plain:8.3f} s  "
                f"{ratios}",
                flush=True,
            )
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
