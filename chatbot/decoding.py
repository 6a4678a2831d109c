"""Draws the candidates of several conversations in one batch, a piece at a time.

Knows sampling and when a row is done; knows nothing of text, ranking or conversations. All
randomness comes from one generator per conversation, so a conversation draws the same pieces
whatever is decoded beside it, but for rounding: sums of another batch size may round differently,
which can tip the choice between two neighbours.

Shapes: `G` conversations, `N` candidates of each, `B <= G * N` rows still decoded, `V` pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import torch

from chatbot.backbone import Backbone
from chatbot.even_rows import even_rows
from chatbot.sampling import choose, uniform_numbers
from chatbot.types import Finish, Progress, Sampling

if TYPE_CHECKING:
    from chatbot.perturbation import Perturbation
    from chatbot.steering import Steering


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
    decoded = [one for group in drawn for one in group]  # the rows of the batch

    # Tensors made in inference mode cannot be part of a graph.
    with torch.inference_mode(perturbation is None), torch.no_grad():
        # 1. The context is encoded once; every candidate's random numbers are fixed beforehand.
        state = backbone.start(prompts, n)
        numbers = uniform_numbers(seeds, sampling).to(backbone.device)  # (B, steps)
        ids = backbone.first(prompts, n)
        n_steps = min(sampling.max_new_tokens, backbone.room(prompts))

        for step in range(n_steps):
            # 2. One step of the decoder for all rows.
            if perturbation is not None:
                clean, logits, state = perturbation.step(ids, state)
                log_probs = clean.log_softmax(-1)
            else:
                hidden, state = backbone.step(ids, state)
                logits = backbone.logits(hidden)  # (B, V)
                log_probs = logits.log_softmax(-1)

            # 3. A piece per row, from its own random number.
            logits[:, backbone.never(is_first=step == 0)] = float("-inf")
            if steering is not None and perturbation is None:
                steering.shift(logits, hidden)
            ids = choose(logits, numbers[:, step], sampling)
            gained = log_probs.gather(1, ids[:, None]).squeeze(1)

            # 4. Note what was drawn and which rows are done.
            pieces = ids.tolist()
            _note(backbone, decoded, pieces, gained.tolist(), is_last=step + 1 == n_steps)
            if steering is not None:
                steering.read(_as_told(backbone, decoded, pieces))
            n_finished = sum(one.finish != "stopped" for group in drawn for one in group)
            if on_progress is not None:
                on_progress(Progress(step + 1, n_steps, n_groups * n, n_finished))
            if n_finished == n_groups * n or (stop is not None and stop.is_set()):
                break

            # 5. Rows that are done leave the batch, be they many of one conversation.
            kept = _staying(decoded)
            if len(kept) < len(decoded):
                decoded = [decoded[row] for row in kept]
                rows = torch.tensor(kept, device=backbone.device)
                backbone.keep_rows(state, rows)
                if steering is not None:
                    steering.keep_rows(kept)
                numbers, ids = numbers[rows], ids[rows]
    return drawn


def _note(
    backbone: Backbone,
    decoded: list[Drawn],
    ids: list[int],
    log_probs: list[float],
    *,
    is_last: bool,
) -> None:
    """Appends the new pieces to the unfinished candidates, and says which of them end there."""
    for one, piece, log_prob in zip(decoded, ids, log_probs, strict=True):
        if one.finish != "stopped":
            continue
        one.ids.append(piece)
        one.log_probs.append(log_prob)
        if backbone.is_end(one.ids):
            one.finish = "end"
        elif is_last:
            one.finish = "length"


def _staying(decoded: Sequence[Drawn]) -> list[int]:
    """Rows to go on with: all that are not done, and as many others as make an even number.

    Leaving copies the state of those who stay, and CPUs prepare their kernels anew for each number.
    """
    n_drawn = sum(one.finish == "stopped" for one in decoded)
    room = even_rows(n_drawn) - n_drawn
    kept = []
    for row, one in enumerate(decoded):
        if one.finish == "stopped":
            kept.append(row)
        elif room:
            kept.append(row)
            room -= 1
    return kept


def _as_told(backbone: Backbone, decoded: list[Drawn], ids: list[int]) -> list[int]:
    """The pieces as the steering reads them: whatever ends a reply is its one end."""
    end = backbone.special.eos
    return [end if one.finish == "end" else piece for one, piece in zip(decoded, ids, strict=True)]
