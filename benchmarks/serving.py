"""Replies a second of the HTTP API with one client and with several at once.

    python benchmarks/serving.py [--model FOLDER] [--clients 8] [--rounds 5] [--json OUT]

One process holds service and clients, which talk over loopback. Every round runs each arm once, in
turn: one client that sends its next message when the last is answered, then several of them, with
batches as the service makes them, with one batch at a time, and with batches of one, one at a
time. Reported are the median and range of the rounds' ratios of replies a second to the single
client of the same round, and of replies a processor second; and the percentiles of latency. The
messages are the same in every arm, the seeds are not: vectors of a text are remembered, so a reply
that was drawn before would be judged for nothing.
"""

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

# As the command line of the product does; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import httpx
import torch
import uvicorn

from chatbot import Chatbot
from ui.api.server import Service, Serving, build

MESSAGES = (
    "Hi! What did you do today?", "I lost my keys this morning.", "Do you like football?",
    "My dog is sick and I am worried.", "What music do you listen to?", "I passed my exam!",
    "Where would you travel next?", "It rains again, so I stay in.",
)  # fmt: skip
SEVERAL = 3
"""Times as many requests for several clients: at their begin and end batches are not full."""

CONTROLS = ({}, {"joy": 0.5}, {"anger": 0.5}, {"joy": 0.5, "game": 0.4})


@dataclass
class Arm:
    """Clients that ask at once, and what they saw.

    Attributes:
        requests: asked in each round, by all clients together.
        seconds, cpu_seconds: of each round, the latter of service and clients together.
        latencies_s: of every request.
    """

    name: str
    clients: int
    requests: int
    url: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    bot = Chatbot.load(options.model, device=options.device)
    n, requests = options.clients, options.requests
    served = _serve(bot, Serving(workers=options.workers, max_batch=n))
    many = requests * SEVERAL
    arms = [
        Arm("1 client", 1, requests, served),
        Arm(f"{n} clients", n, many, served),
        Arm(f"{n} clients, 1 worker", n, many, _serve(bot, Serving(workers=1, max_batch=n))),
        Arm(f"{n} clients, no batches", n, requests, _serve(bot, Serving(workers=1, max_batch=1))),
    ]
    machine = {
        "model": dict(bot.backbone.identity),
        "dtype": str(bot.backbone.model.dtype),
        "device": str(bot.backbone.device),
        "threads": options.threads,
        "cores": os.cpu_count(),
        "candidates": options.candidates,
        "steered": options.steered,
        "workers": options.workers,
        "requests": {arm.name: arm.requests for arm in arms},
        "rounds": options.rounds,
        "load_average_before": os.getloadavg(),
    }
    print(json.dumps(machine, indent=1), flush=True)
    for number in range(-1, options.rounds):  # round -1 warms up
        for arm in arms:
            first_seed = ((number + 1) * len(arms) + arms.index(arm)) * many
            run(arm, options, first_seed, keep=number >= 0)
        print(f"round {number + 1} of {options.rounds}", flush=True)
    machine["load_average_after"] = os.getloadavg()
    results = [report(arm, arms[0]) for arm in arms]
    print(f"load average after: {machine['load_average_after']}")
    if options.json:
        Path(options.json).write_text(json.dumps({**machine, "arms": results}, indent=1) + "\n")


def run(arm: Arm, options: argparse.Namespace, first_seed: int, *, keep: bool) -> None:
    """The same messages in each arm; a client sends its next one when the last is answered."""
    numbers = iter(range(arm.requests))
    lock = threading.Lock()
    begun = threading.Barrier(arm.clients + 1)  # a new client reads its certificates first
    latencies: list[float] = []
    statuses: list[int] = []

    def client() -> None:
        with httpx.Client(base_url=arm.url, timeout=3600) as http:
            begun.wait()
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                begin = time.perf_counter()
                answer = http.post("/v1/chat/completions", json=_body(number, first_seed, options))
                took_s = time.perf_counter() - begin
                with lock:
                    latencies.append(took_s)
                    statuses.append(answer.status_code)

    batches = _batches(arm.url)
    with ThreadPoolExecutor(arm.clients) as pool:
        asking = [pool.submit(client) for _ in range(arm.clients)]
        begun.wait()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for done in asking:
            done.result()
    if keep:
        arm.seconds.append(time.perf_counter() - begin)
        arm.cpu_seconds.append(time.process_time() - cpu_begin)
        arm.batches.append(_batches(arm.url) - batches)
        arm.latencies_s += latencies
        arm.statuses += statuses


def report(arm: Arm, single: Arm) -> dict[str, object]:
    """Prints the line of an arm and gives its numbers."""
    ratios, cpu_ratios = (
        [
            arm.requests / mine * alone / single.requests
            for mine, alone in zip(own, others, strict=True)
        ]
        for own, others in (
            (arm.seconds, single.seconds), (arm.cpu_seconds, single.cpu_seconds),
        )
    )  # fmt: skip
    rate = arm.requests / statistics.median(arm.seconds)
    p50, p95, p99 = (percentile(arm.latencies_s, share) for share in (0.5, 0.95, 0.99))
    failed = sum(status != 200 for status in arm.statuses)
    size = arm.requests * len(arm.batches) / sum(arm.batches)
    print(
        f"{arm.name:24} {rate:5.2f} replies/s  x{_spread(ratios)} on the clock, "
        f"x{_spread(cpu_ratios)} by processor  mean batch {size:.1f}\n"
        f"{'':24} latency p50 {p50:.2f} p95 {p95:.2f} p99 {p99:.2f} s, n={len(arm.latencies_s)}, "
        f"{failed} failed"
    )
    return {
        "arm": arm.name, "replies_per_s": rate, "ratios": ratios, "cpu_ratios": cpu_ratios,
        "seconds": arm.seconds, "cpu_seconds": arm.cpu_seconds, "mean_batch": size,
        "latencies_s": arm.latencies_s, "failed": failed,
    }  # fmt: skip


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"


def _batches(url: str) -> int:
    """Answered so far by the service."""
    lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
    name = "chatbot_batch_size_count "
    return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _body(number: int, first_seed: int, options: argparse.Namespace) -> dict[str, object]:
    body: dict[str, object] = {
        "messages": [{"role": "user", "content": MESSAGES[number % len(MESSAGES)]}],
        "seed": first_seed + number,
        "candidates": options.candidates,
    }
    if options.steered:
        body["controls"] = CONTROLS[number % len(CONTROLS)]
    return body


def _serve(bot: Chatbot, serving: Serving) -> str:
    """The address of a service that runs until the process ends."""
    loaded: Future[Chatbot] = Future()
    loaded.set_result(bot)
    service = Service(loaded, "bench", serving)  # type: ignore[arg-type]
    config = uvicorn.Config(build(service), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of a generator; the shipped one if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch on the CPU")
    parser.add_argument("--workers", type=int, help="batches at a time; as `chatbot serve` if none")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=16, help="of a lone client in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--steered", action="store_true", help="controls of four kinds, by turns")
    parser.add_argument("--json", help="file for all single times")
    return parser.parse_args()


if __name__ == "__main__":
    main()
