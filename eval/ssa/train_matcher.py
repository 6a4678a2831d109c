"""Trains the matcher: which reply stands where, among hundreds that stand elsewhere."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from eval.ssa.matching import TURNS, Matcher

Fragment = tuple[str, list[int]]
"""A source, and the rows of its turns in a table of vectors."""

WIDTH = 512
EPOCHS = 8
_FRAGMENTS_PER_STEP = 100
_SAME_SOURCE = 50
_DROPOUT = 0.25


class _Networks(nn.Module):
    """The matcher while it is trained; `Matcher` holds what comes out."""

    def __init__(self, dimensions: int):
        super().__init__()
        self.context_in = nn.Linear(TURNS * dimensions, WIDTH, bias=False)
        self.context_out = nn.Linear(WIDTH, dimensions, bias=False)
        self.reply_in = nn.Linear(dimensions, WIDTH, bias=False)
        self.reply_out = nn.Linear(WIDTH, dimensions, bias=False)
        for layer in (self.context_out, self.reply_out):  # begins as the similarity of texts
            nn.init.normal_(layer.weight, std=0.003)
        self.mix = nn.Parameter(torch.tensor([1.0, 0.3, 0.2]))
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, turns: Tensor, replies: Tensor) -> Tensor:
        """(P, T, D), (P, D) -> (P, P) logits, context by reply."""
        hidden = self.dropout(torch.relu(self.context_in(self.dropout(turns).flatten(1))))
        context = torch.einsum("ptd,t->pd", turns, self.mix) + self.context_out(hidden)
        hidden = self.dropout(torch.relu(self.reply_in(self.dropout(replies))))
        reply = replies + self.reply_out(hidden)
        unit = nn.functional.normalize
        return self.log_scale.exp() * unit(context, dim=1) @ unit(reply, dim=1).T

    def finished(self) -> Matcher:
        weights = {
            "context.in": self.context_in.weight.T, "context.out": self.context_out.weight.T,
            "reply.in": self.reply_in.weight.T, "reply.out": self.reply_out.weight.T,
            "mix": self.mix, "scale": self.log_scale.exp()[None],
        }  # fmt: skip
        # Through float16, as they are stored: what is measured is what is shipped.
        return Matcher(
            {k: w.detach().half().float().contiguous().numpy() for k, w in weights.items()}
        )


def pairs_of(fragments: Sequence[Fragment], missing: int) -> np.ndarray:
    """(P, T + 1) rows: the turns before, last first, `missing` where there is none; the reply."""
    rows = []
    for _, turns in fragments:
        for i in range(1, len(turns)):
            before = [turns[i - k] if i >= k else missing for k in range(1, TURNS + 1)]
            rows.append([*before, turns[i]])
    return np.array(rows)


def train_matcher(
    vectors: Tensor, fragments: Sequence[Fragment], *, epochs: int = EPOCHS, seed: int = 0
) -> Matcher:
    """A matcher of fragments whose turns are rows of (n, D) `vectors`, the last row being zero."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    networks = _Networks(vectors.shape[1])
    steps = epochs * (len(fragments) // _FRAGMENTS_PER_STEP)
    optimizer = torch.optim.AdamW(networks.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps + 1, pct_start=0.1)
    for _ in range(epochs):
        mixed = _mixed(fragments, rng)
        for begin in range(0, len(mixed) - _FRAGMENTS_PER_STEP + 1, _FRAGMENTS_PER_STEP):
            rows = pairs_of(mixed[begin : begin + _FRAGMENTS_PER_STEP], len(vectors) - 1)
            loss = _loss(networks, vectors, torch.from_numpy(rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return networks.finished()


def _loss(networks: _Networks, vectors: Tensor, rows: Tensor) -> Tensor:
    """Cross-entropy of finding the reply of a context and the context of a reply."""
    # Many a context to be judged is short: older turns are left out at random.
    drawn = torch.rand(len(rows))
    rows[drawn < 0.35, 2] = len(vectors) - 1
    rows[drawn < 0.15, 1] = len(vectors) - 1
    logits = networks(vectors[rows[:, :TURNS]], vectors[rows[:, TURNS]])
    reply = rows[:, TURNS]
    alike = (reply[:, None] == reply[None]) & ~torch.eye(len(rows), dtype=torch.bool)
    logits = logits.masked_fill(alike, -1e4)
    own = torch.arange(len(rows))
    cross_entropy = nn.functional.cross_entropy
    return cross_entropy(logits, own) + cross_entropy(logits.T, own)


def _mixed(fragments: Sequence[Fragment], rng: random.Random) -> list[Fragment]:
    """All fragments, runs of one source together: foreign replies of one's own kind are hard."""
    by_source: Mapping[str, list[Fragment]] = defaultdict(list)
    for fragment in rng.sample(list(fragments), len(fragments)):
        by_source[fragment[0]].append(fragment)
    runs = [
        found[i : i + _SAME_SOURCE]
        for found in by_source.values()
        for i in range(0, len(found), _SAME_SOURCE)
    ]
    rng.shuffle(runs)
    return [fragment for run in runs for fragment in run]
