"""Seconds of a reply by family, plain and steered, on random models side by side.

    python benchmarks/backbones.py [--size small] [--device cuda] [--dtype bfloat16] [--json FILE]

Random weights compute as long as trained ones. Every family is measured in one process, its cases
interleaved round by round; the median of the rounds is told. "generate" is the plain loop of
transformers with the same candidates and number of pieces, no end, as a yardstick.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from random_models import FAMILIES, Size, random_model
from transformers import GenerationConfig

from chatbot import Chatbot, Controls, Sampling
from chatbot.backbone import Backbone

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


def cases(backbone: Backbone, sampling: Sampling) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    bot = Chatbot(backbone)
    bot.steerer.bound("joy", "en")

    def reply(controls: Controls) -> Callable[[], object]:
        return lambda: bot.respond(TURNS, seed=1, sampling=sampling, controls=controls)

    found: dict[str, Callable[[], object]] = {"generate": generate(backbone, sampling)}
    found["plain"] = reply(Controls())
    for mode in MODES:
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


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each case of a family."""
    model, tokenizer = random_model(name, SIZES[arguments.size])
    model = model.to(arguments.device, getattr(torch, arguments.dtype))
    backbone = Endless(model, tokenizer, name=name, digest=name)
    sampling = Sampling(candidates=arguments.candidates, max_new_tokens=arguments.pieces)
    timed = cases(backbone, sampling)
    seconds: dict[str, list[float]] = {case: [] for case in timed}
    for round_ in range(arguments.rounds + 1):
        for case, run in timed.items():
            begin = clock(arguments)
            run()
            if round_:  # the first one warms up
                seconds[case].append(clock(arguments) - begin)
    return {case: statistics.median(values) for case, values in seconds.items()} | {
        "parameters": model.num_parameters()
    }


def clock(arguments: argparse.Namespace) -> float:
    """Seconds: of the processor where asked, which other programs disturb less."""
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if arguments.cpu_time else time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--size", default="tiny", choices=list(SIZES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor seconds, not the clock's"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print("family            weights  generate     plain    hidden    layers      pplm")
    for name in arguments.families:
        found = measured(name, arguments)
        plain = found["plain"]
        ratios = "  ".join(f"x{found[mode] / plain:6.2f} " for mode in MODES)
        print(
            f"{name:16} {found['parameters'] / 1e6:6.1f}M  {found['generate']:6.3f} s  "
            f"{plain:6.3f} s  {ratios}",
            flush=True,
        )
        if arguments.json:
            with arguments.json.open("a") as file:
                told = {"family": name, "size": arguments.size, "device": arguments.device}
                file.write(json.dumps(told | {"dtype": arguments.dtype} | found) + "\n")


if __name__ == "__main__":
    main()
