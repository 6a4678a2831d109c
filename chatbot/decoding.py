"""Draws the candidates of several conversations in one batch, a piece at a time.

Knows sampling and when a row is done; knows nothing of text, ranking or conversations. All
randomness comes from one generator per conversation, so a conversation draws the same pieces
whatever is decoded beside it.

Shapes: `G` conversations, `N` candidates of each, `R <= N` of them still decoded, `V` pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chatbot.backbone import Backbone
from chatbot.types import Finish, Progress, Sampling

if TYPE_CHECKING:
    from chatbot.perturbation import Perturbation
    from chatbot.steering import Steering

MOST_KEPT = 0.8
"""Rows leave the batch when at most this share stays: the state of the others is copied then, and
CPUs prepare their kernels anew for each size of batch."""


@dataclass(slots=True)
class Drawn:
    """Pieces of one candidate and their log-probabilities under the untouched model, in nats.

    `finish` is "stopped" as long as the candidate has not come to its end.
    """

    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: Finish = "stopped"


def draw(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    sampling: Sampling,
    seeds: Sequence[int],
    steering: "Steering | None" = None,
    perturbation: "Perturbation | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
) -> list[list[Drawn]]:
    """N candidates for each of G prompts.

    Args:
        prompts: encoder inputs.
        seeds: one per prompt.
        steering: shifts the logits before a piece is drawn; `log_probs` stay those of the
            untouched model.
        perturbation: takes the steps of the decoder in place of the backbone, and of `steering`
            the shift: in the modes that follow gradients, `steering` only reads what is drawn.
        on_progress: called after every step.
        stop: when set, decoding ends after the current step; unfinished rows say "stopped".
    """
    n_groups, n = len(prompts), sampling.candidates
    drawn = [[Drawn() for _ in range(n)] for _ in prompts]
    decoded = [one for group in drawn for one in group]  # the rows of the batch, G * R

    # Tensors made in inference mode cannot be part of a graph.
    with torch.inference_mode(perturbation is None), torch.no_grad():
        # 1. The context is encoded once; every candidate's random numbers are fixed beforehand.
        state = backbone.start(prompts, n)
        numbers = _uniform(seeds, sampling).to(backbone.device)  # (G * R, steps)
        ids = torch.full((n_groups * n,), backbone.special.bos, device=backbone.device)

        for step in range(sampling.max_new_tokens):
            # 2. One step of the decoder for all rows.
            if perturbation is not None:
                clean, logits, state = perturbation.step(ids, state)
                log_probs = clean.log_softmax(-1)
            else:
                hidden, state = backbone.step(ids, state)
                logits = backbone.logits(hidden)  # (G * R, V)
                log_probs = logits.log_softmax(-1)

            # 3. A piece per row, from its own random number.
            forbidden = _forbidden(backbone, is_first=step == 0)
            logits[:, forbidden] = float("-inf")
            if steering is not None and perturbation is None:
                steering.shift(logits, hidden)
            ids = choose(logits, numbers[:, step], sampling)
            gained = log_probs.gather(1, ids[:, None]).squeeze(1)

            # 4. Note what was drawn and which rows are done.
            is_last = step + 1 == sampling.max_new_tokens
            pieces = ids.tolist()
            if steering is not None:
                steering.read(pieces)
            _note(decoded, pieces, gained.tolist(), eos=backbone.special.eos, is_last=is_last)
            n_finished = sum(one.finish != "stopped" for group in drawn for one in group)
            if on_progress is not None:
                on_progress(Progress(step + 1, sampling.max_new_tokens, n_groups * n, n_finished))
            if n_finished == n_groups * n or (stop is not None and stop.is_set()):
                break

            # 5. Rows that are done leave the batch.
            kept = _kept(decoded, n_groups)
            if len(kept) <= MOST_KEPT * len(decoded):
                decoded = [decoded[row] for row in kept]
                rows = torch.tensor(kept, device=backbone.device)
                backbone.keep_rows(state, rows)
                if steering is not None:
                    steering.keep_rows(kept)
                numbers, ids = numbers[rows], ids[rows]
    return drawn


def choose(logits: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
    """One piece per row by inverting the cumulative distribution.

    Args:
        logits: (B, V) float32.
        numbers: (B,) uniform in [0, 1): a row's piece depends on nothing else.

    Returns:
        (B,) ids.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs = (logits / sampling.temperature).softmax(-1)
    if 0 < sampling.top_k < probs.shape[1]:
        least = probs.topk(sampling.top_k).values[:, -1:]
        probs = probs.masked_fill(probs < least, 0)
    if sampling.top_p < 1:
        ordered, index = probs.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(-1, True), 0)
        probs = torch.zeros_like(probs).scatter(1, index, ordered)
    cumulative = probs.cumsum(-1)
    # Below the last sum even after rounding, as a number is at most 1 - 2^-24.
    target = numbers[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def _uniform(seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """(G * N, steps) random numbers in [0, 1), drawn on the CPU so that devices agree."""
    shape = (sampling.candidates, sampling.max_new_tokens)
    return torch.cat(
        [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def _forbidden(backbone: Backbone, *, is_first: bool) -> list[int]:
    """Special pieces a reply never holds; a reply does not end before it has begun."""
    special = backbone.special
    never = [special.pad, special.bos, special.user, special.bot, special.mask]
    return [*never, special.eos] if is_first else never


def _note(
    decoded: list[Drawn], ids: list[int], log_probs: list[float], *, eos: int, is_last: bool
) -> None:
    """Appends the new pieces to the unfinished candidates, and says which of them end there."""
    for one, piece, log_prob in zip(decoded, ids, log_probs, strict=True):
        if one.finish != "stopped":
            continue
        one.ids.append(piece)
        one.log_probs.append(log_prob)
        if piece == eos:
            one.finish = "end"
        elif is_last:
            one.finish = "length"


def _kept(decoded: list[Drawn], n_groups: int) -> list[int]:
    """Rows to go on with: the unfinished ones, and done ones where a group has fewer of them.

    Every group keeps as many as the fullest one needs, so that the batch stays G * R.
    """
    width = len(decoded) // n_groups
    groups = [
        sorted(range(start, start + width), key=lambda row: decoded[row].finish != "stopped")
        for start in range(0, len(decoded), width)
    ]
    needed = max(sum(decoded[row].finish == "stopped" for row in group) for group in groups)
    return [row for group in groups for row in group[:needed]]
