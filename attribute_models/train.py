"""Trains heads on states of a frozen decoder, and readers on sentence embeddings.

Knows tensors and labels; whoever calls brings states, embeddings and texts.

Shapes: `n` replies, `T` pieces of all of them one after another, `H` hidden size, `K` labels, `R`
rank, `V` pieces of the vocabulary, `D` dimensions of an embedding.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attribute_models.readers import Floats

log = logging.getLogger(__name__)

RANK = 64
STEPS = 1600
_BATCH, _RATE, _SEED = 400, 3e-3, 7


@dataclass(frozen=True, slots=True)
class States:
    """Replies as a frozen decoder saw them.

    Attributes:
        hidden: (T, H) state before each piece.
        pieces: (T,) ids that came.
        lengths: (n,) pieces of each reply.
        labels: (n,) number of each reply's label.
        is_valid: (n,) bool.
    """

    hidden: Tensor
    pieces: Tensor
    lengths: Tensor
    labels: Tensor
    is_valid: Tensor

    def per_piece(self, values: Tensor) -> Tensor:
        """(T,) from (n,)."""
        return values.repeat_interleave(self.lengths)


def train_shift(
    states: States, n_labels: int, output: Tensor, *, rank: int = RANK, steps: int = STEPS
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The maps that make each label's replies likeliest (`attribute_models.heads`).

    Args:
        output: (V, H) output embedding.

    Returns:
        Tensors `down`, `up`, `bias`, `pieces` of the K labels, and nats per piece on valid
        replies: `untouched`, `right` label, `wrong` label (the mean over the others).
    """
    width, n_pieces = output.shape[1], output.shape[0]
    output = output.float()
    label = states.per_piece(states.labels)
    is_valid = states.per_piece(states.is_valid)
    generator = torch.Generator().manual_seed(_SEED)
    # Number 0 is what all labels have in common.
    up = torch.zeros(n_labels + 1, width, rank)
    down = torch.randn(n_labels + 1, rank, width, generator=generator) / math.sqrt(width) / 4
    bias, pieces = torch.zeros(n_labels + 1, width), torch.zeros(n_labels + 1, n_pieces)
    parts = [up, down, bias, pieces]
    for part in parts:
        part.requires_grad_()
    optimizer = torch.optim.AdamW(
        [
            {"params": [up, down, pieces], "weight_decay": 0.3},
            {"params": [bias], "weight_decay": 0.01},
        ],
        lr=_RATE,
    )

    def losses(rows: Tensor, labels: Tensor) -> Tensor:
        x = states.hidden[rows].float()
        move = (x @ down[0].T) @ up[0].T + bias[0]
        for one in range(n_labels):
            of_it = (labels == one).nonzero().squeeze(1)
            if len(of_it):
                own = (x[of_it] @ down[one + 1].T) @ up[one + 1].T + bias[one + 1]
                move = move.index_add(0, of_it, own)
        logits = (x + move) @ output.T + pieces[0] + pieces[labels + 1]
        return functional.cross_entropy(logits, states.pieces[rows], reduction="none")

    counts = torch.bincount(label[~is_valid], minlength=n_labels).clamp_min(1).float()
    weight = (counts.rsqrt()[label] * ~is_valid).double()
    drawn = weight.cumsum(0) / weight.sum()  # rare labels come oftener than they are found
    for step in range(steps):
        at = torch.rand(_BATCH, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(drawn, at)
        loss = losses(rows, label[rows]).mean()
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 30) * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 200 == 0:
            log.info("shift %d/%d loss %.3f", step + 1, steps, loss.item())
    with torch.no_grad():
        rows = is_valid.nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=generator)[:6000]]
        found: dict[str, list[Tensor]] = {"untouched": [], "right": [], "wrong": []}
        for part in rows.split(1000):
            clean = states.hidden[part].float() @ output.T
            found["untouched"].append(
                functional.cross_entropy(clean, states.pieces[part], reduction="none")
            )
            found["right"].append(losses(part, label[part]))
            others = [losses(part, (label[part] + by) % n_labels) for by in range(1, n_labels)]
            found["wrong"].append(torch.stack(others).mean(0))
    tensors = {
        "down": down[1:], "up": up[1:], "bias": bias[1:], "pieces": pieces[1:],
    }  # fmt: skip
    report = {name: torch.cat(values).mean().item() for name, values in found.items()}
    return {name: value.detach().clone() for name, value in tensors.items()}, report


def train_look_ahead(
    states: States, n_labels: int, *, steps: int = 1500
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Linear map from the state before a piece to the label of the whole reply.

    Returns:
        Tensors `ahead` (K, H) and `ahead_bias` (K,), and accuracy and F1 on valid replies, at the
        last piece and by quarters of the reply.
    """
    label, is_valid = states.per_piece(states.labels), states.per_piece(states.is_valid)
    train = (~is_valid).nonzero().squeeze(1)
    mean, spread = states.hidden[train].float().mean(0), states.hidden[train].float().std(0) + 1e-6
    weight = torch.zeros(n_labels, states.hidden.shape[1], requires_grad=True)
    bias = torch.zeros(n_labels, requires_grad=True)
    counts = torch.bincount(states.labels[~states.is_valid], minlength=n_labels).clamp_min(1)
    balance = (len(states.labels) / n_labels / counts.float()).sqrt()
    optimizer = torch.optim.AdamW([weight, bias], lr=_RATE, weight_decay=0.05)
    generator = torch.Generator().manual_seed(_SEED)
    for step in range(steps):
        rows = train[torch.randint(len(train), (1024,), generator=generator)]
        logits = ((states.hidden[rows].float() - mean) / spread) @ weight.T + bias
        loss = functional.cross_entropy(logits, label[rows], weight=balance)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        ahead = weight / spread
        ahead_bias = bias - ahead @ mean
        valid = is_valid.nonzero().squeeze(1)
        guess = (states.hidden[valid].float() @ ahead.T + ahead_bias).argmax(1)
        place = _place(states.lengths)[valid]
        right = (guess == label[valid]).float()
        quarters = [
            round(right[(place >= low) & (place < low + 0.25)].mean().item(), 4)
            for low in (0.0, 0.25, 0.5, 0.75)
        ]
        ends = torch.isin(valid, states.lengths.cumsum(0) - 1)
        report = {
            "accuracy_by_quarter": quarters,
            **scores(guess[ends].numpy(), label[valid][ends].numpy(), n_labels),
        }
    return {"ahead": ahead.detach(), "ahead_bias": ahead_bias.detach()}, report


def train_reader(
    vectors: Floats, labels: Sequence[int], is_valid: Sequence[bool], n_labels: int
) -> tuple[Floats, Floats, dict[str, Any]]:
    """Logistic regression (K, D), (K,) on unit vectors (n, D), its scale calibrated on valid ones.

    Returns:
        Weights, bias, and F1, calibration error and reliability on valid texts.
    """
    x, y = torch.from_numpy(vectors), torch.tensor(labels)
    valid = torch.tensor(is_valid)
    weight = torch.zeros(n_labels, x.shape[1], requires_grad=True)
    bias = torch.zeros(n_labels, requires_grad=True)
    counts = torch.bincount(y[~valid], minlength=n_labels).clamp_min(1).float()
    balance = len(y) / n_labels / counts
    n = int((~valid).sum())
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x[~valid] @ weight.T + bias, y[~valid], weight=balance)
        value = value + weight.square().sum() / (20 * n)  # C = 10, as scikit-learn counts
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        logits = x[valid] @ weight.T + bias
        heat = min(
            (0.5 + 0.05 * step for step in range(40)),
            key=lambda t: functional.cross_entropy(logits / t, y[valid], weight=balance).item(),
        )
        weight, bias = weight / heat, bias / heat
        p = (x[valid] @ weight.T + bias).softmax(1)
        guess = p.argmax(1)
        report = scores(guess.numpy(), y[valid].numpy(), n_labels)
        report |= calibration(p.numpy(), y[valid].numpy())
    return weight.numpy().astype(np.float32), bias.numpy().astype(np.float32), report


def scores(guess: np.ndarray, truth: np.ndarray, n_labels: int) -> dict[str, Any]:
    """n, accuracy, F1 of each label and their mean."""
    f1 = []
    for label in range(n_labels):
        hits = int(((guess == label) & (truth == label)).sum())
        both = int((guess == label).sum() + (truth == label).sum())
        f1.append(round(2 * hits / both, 4) if both else 0.0)
    return {
        "n": len(truth),
        "accuracy": round(float((guess == truth).mean()), 4),
        "f1": f1,
        "macro_f1": round(sum(f1) / n_labels, 4),
    }


def calibration(p: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> dict[str, Any]:
    """Expected calibration error of the likeliest label, and its reliability curve.

    Bins of equal width (Guo et al. 2017): confidence, accuracy, n of each.
    """
    confidence, right = p.max(1), p.argmax(1) == truth
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    curve = [
        (
            float(confidence[bins == at].mean()),
            float(right[bins == at].mean()),
            int((bins == at).sum()),
        )
        for at in range(n_bins)
        if (bins == at).any()
    ]
    error = sum(n * abs(said - was) for said, was, n in curve) / len(truth)
    return {
        "calibration_error": round(error, 4),
        "reliability": [[round(said, 4), round(was, 4), n] for said, was, n in curve],
    }


def _place(lengths: Tensor) -> Tensor:
    """(T,) where each piece stands in its reply, from 0 up to 1."""
    begins = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    at = torch.arange(int(lengths.sum())) - begins
    return at / lengths.repeat_interleave(lengths)
