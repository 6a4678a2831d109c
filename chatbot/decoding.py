"""Draws the candidates of several conversations in one batch, a piece at a time.

Knows sampling and when a row is done; knows nothing of text, ranking or conversations. All
randomness comes from one generator per conversation, so a conversation draws the same pieces
whatever is decoded beside it.

Shapes: `G` conversations, `N` candidates of each, `R <= N` of them still decoded, `V` pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

import torch
from torch import Tensor

from chatbot.backbone import Backbone
from chatbot.types import Finish, Progress, Sampling


@dataclass(slots=True)
class Drawn:
    """Pieces of one candidate and their log-probabilities under the untouched model, in nats."""

    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: Finish = "stopped"


@torch.inference_mode()
def draw(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    sampling: Sampling,
    seeds: Sequence[int],
    on_progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
) -> list[list[Drawn]]:
    """N candidates for each of G prompts.

    Args:
        prompts: encoder inputs.
        seeds: one per prompt.
        on_progress: called after every step.
        stop: when set, decoding ends after the current step; unfinished rows say "stopped".
    """
    n_groups, n = len(prompts), sampling.candidates
    drawn = [[Drawn() for _ in range(n)] for _ in prompts]

    # 1. The context is encoded once; every candidate's random numbers are fixed beforehand.
    state = backbone.start(prompts, n)
    numbers = _uniform(seeds, sampling).to(backbone.device)  # (G, N, steps)
    rows = torch.arange(n).repeat(n_groups, 1)  # (G, R) candidate of each decoded row
    active = torch.ones(n_groups, n, dtype=torch.bool)
    ids = torch.full((n_groups * n,), backbone.special.bos, device=backbone.device)

    for step in range(sampling.max_new_tokens):
        # 2. One step of the decoder for all rows.
        hidden, state = backbone.step(ids, state)
        logits = backbone.logits(hidden)  # (G * R, V)
        log_probs = logits.log_softmax(-1)

        # 3. A piece per row, from its own random number.
        forbidden = _forbidden(backbone, is_first=step == 0)
        logits[:, forbidden] = float("-inf")
        chosen = numbers[torch.arange(n_groups)[:, None], rows, step]  # (G, R)
        ids = choose(logits, chosen.flatten(), sampling)
        gained = log_probs.gather(1, ids[:, None]).squeeze(1)

        # 4. Note what was drawn and which rows are done.
        is_last = step + 1 == sampling.max_new_tokens
        _note(drawn, rows, active, ids.tolist(), gained.tolist(), backbone.special.eos, is_last)
        finished = n_groups * n - int(active.sum())
        if on_progress is not None:
            on_progress(Progress(step + 1, sampling.max_new_tokens, n_groups * n, finished))
        if not active.any() or (stop is not None and stop.is_set()):
            break

        # 5. Rows that are done leave the batch; all groups keep as many as the fullest one needs.
        needed = int(active.sum(1).max())
        if needed < rows.shape[1]:
            order = (~active).int().argsort(dim=1, stable=True)[:, :needed]  # (G, R')
            flat = (order + rows.shape[1] * torch.arange(n_groups)[:, None]).flatten()
            rows, active = rows.gather(1, order), active.gather(1, order)
            flat = flat.to(backbone.device)
            backbone.keep_rows(state, flat)
            ids = ids[flat]
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
    cumulative = probs.double().cumsum(-1)
    target = numbers.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def _uniform(seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """(G, N, steps) random numbers in [0, 1), drawn on the CPU so that devices agree."""
    shape = (sampling.candidates, sampling.max_new_tokens)
    return torch.stack(
        [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def _forbidden(backbone: Backbone, *, is_first: bool) -> list[int]:
    """Special pieces a reply never holds; a reply does not end before it has begun."""
    special = backbone.special
    never = [special.pad, special.bos, special.user, special.bot, special.mask]
    return [*never, special.eos] if is_first else never


def _note(
    drawn: list[list[Drawn]],
    rows: Tensor,
    active: Tensor,
    ids: list[int],
    log_probs: list[float],
    eos: int,
    is_last: bool,
) -> None:
    """Appends the new pieces to the active rows and clears `active` where a row is done."""
    width = rows.shape[1]
    for flat, (group, place) in enumerate((g, r) for g in range(len(drawn)) for r in range(width)):
        if not active[group, place]:
            continue
        one = drawn[group][int(rows[group, place])]
        one.ids.append(ids[flat])
        one.log_probs.append(log_probs[flat])
        if ids[flat] == eos:
            one.finish = "end"
        elif is_last:
            one.finish = "length"
        else:
            continue
        active[group, place] = False
