"""A scorer of the same face as the real one that needs no model, in a file that processes can load.

Run as a program, it scores a file slowly, so that it can be killed: `ssa_fake.py IN OUT`.
"""

import hashlib
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class FakeScore:
    sensible: float
    specific: float
    reasons: tuple[str, ...] = ()


class FakeScorer:
    """Scores from a hash; sensible where the response asks or is long."""

    def __init__(self, name="fake", wait_s=0.0):
        self.identity = {"name": name, "digest": name * 4}
        self._wait_s = wait_s
        self.batches = []

    def score(self, pairs):
        self.batches.append(len(pairs))
        time.sleep(self._wait_s * len(pairs))
        return [self._one(context, response) for context, response in pairs]

    def _one(self, context, response):
        digest = hashlib.sha256("\n".join([*context, response]).encode()).digest()
        sensible = 0.0 if not response else digest[0] / 255
        reasons = ("short",) if len(response) < 3 else ()
        return FakeScore(sensible, sensible * digest[1] / 255, reasons)


def load():
    return FakeScorer()


def load_slow():
    return FakeScorer(wait_s=0.002)


if __name__ == "__main__":
    from eval.ssa.scoring import score_file

    score_file(load_slow, sys.argv[1], sys.argv[2])
