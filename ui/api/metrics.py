"""Numbers about the service, written as Prometheus reads them (text format 0.0.4).

Counters, gauges and histograms only; no process-wide registry, so that two services in one process
do not mix.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counter:
    """A number that only grows, for each value of its label."""

    name: str
    help: str
    label: str = ""
    counts: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, value: float = 1, label: str = "") -> None:
        """Grows by `value`."""
        with self.lock:
            self.counts[label] = self.counts.get(label, 0) + value

    def lines(self) -> list[str]:
        """In Prometheus's form."""
        with self.lock:
            counts = self.counts.copy() or ({} if self.label else {"": 0})
        return [
            f"# HELP {self.name} {self.help}",
            f"# TYPE {self.name} counter",
            *(
                f"{self.name}{_labels(self.label, label)} {value:.17g}"
                for label, value in sorted(counts.items())
            ),
        ]


@dataclass(slots=True)
class Gauge:
    """A number read when it is asked for."""

    name: str
    help: str
    read: Callable[[], float]

    def lines(self) -> list[str]:
        """In Prometheus's form."""
        return [
            f"# HELP {self.name} {self.help}",
            f"# TYPE {self.name} gauge",
            f"{self.name} {self.read():.17g}",
        ]


@dataclass(slots=True)
class Histogram:
    """How often a number was at most each bound."""

    name: str
    help: str
    bounds: tuple[float, ...] = SECONDS
    total: float = 0.0
    counts: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts one more value."""
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value

    def lines(self) -> list[str]:
        """In Prometheus's form: cumulative buckets, sum and count."""
        with self.lock:
            counts, total = self.counts.copy(), self.total
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} histogram"]
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
            below += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{self.name}_bucket{{le="{edge}"}} {below}')
        return [*lines, f"{self.name}_sum {total:.17g}", f"{self.name}_count {below}"]


class Metrics:
    """What one service counts.

    Args:
        queue_depth: requests that wait, read when asked for.
    """

    def __init__(self, queue_depth: Callable[[], float]):
        self.requests = Counter("chatbot_http_requests_total", "HTTP requests by status.", "status")
        self.turns = Counter("chatbot_turns_total", "Replies asked for, by outcome.", "outcome")
        self.tokens = Counter("chatbot_tokens_total", "Pieces of all candidates drawn.")
        self.dropped = Counter(
            "chatbot_candidates_dropped_total", "Candidates that a rule dropped.", "rule"
        )
        self.turn_seconds = Histogram("chatbot_turn_seconds", "From a request to its reply.")
        self.first_token_seconds = Histogram(
            "chatbot_first_token_seconds", "From a request to the first decoding step."
        )
        self.batch_seconds = Histogram("chatbot_batch_seconds", "For the replies of one batch.")
        self.batch_size = Histogram(
            "chatbot_batch_size", "Conversations in one batch.", (1, 2, 4, 8, 16, 32)
        )
        self.queue_depth = Gauge("chatbot_queue_depth", "Requests that wait.", queue_depth)

    def text(self) -> str:
        """All of it, in Prometheus's form."""
        everything: tuple[Counter | Gauge | Histogram, ...] = (
            self.requests, self.turns, self.tokens, self.dropped, self.turn_seconds,
            self.first_token_seconds, self.batch_seconds, self.batch_size, self.queue_depth,
        )  # fmt: skip
        return "\n".join(line for one in everything for line in one.lines()) + "\n"


def _labels(name: str, value: str) -> str:
    if not name:
        return ""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}'
