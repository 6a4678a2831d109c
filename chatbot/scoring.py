"""Knows how probable given replies are after given prompts; knows nothing of text or sampling.

Shapes: `B` replies of one batch, `S` prompt length, `T` reply length, `V` pieces.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from chatbot.backbone import Backbone
from chatbot.meena import MeenaForConditionalGeneration

Ids = Sequence[int]


@torch.inference_mode()
def reply_log_likelihoods(
    model: Backbone | PreTrainedModel,
    prompts: Sequence[Ids],
    replies: Sequence[Ids],
    *,
    tokens_per_batch: int = 8192,
) -> list[Tensor]:
    """Log-probability of every piece of each reply after its prompt, in nats.

    Args:
        model: any generator, or an encoder-decoder of transformers in evaluation mode.
        prompts: what the generator reads, one per reply, each of at least one id.
        replies: pieces in order, with `<eos>` at the end where the ending counts too.
        tokens_per_batch: B * (S + T) at most, except that a batch holds at least one reply.

    Returns:
        For each reply its (T,) float32 on the CPU, in the order given.
    """
    if isinstance(model, Backbone) and isinstance(model.model, MeenaForConditionalGeneration):
        model = model.model
    score: Callable[[Any, list[Ids], list[Ids]], Sequence[Tensor] | Tensor] = _score_states
    if not isinstance(model, Backbone):
        assert not model.training, "dropout would make the probabilities random"
        score = _score_batch
    scored = [torch.zeros(0)] * len(replies)
    for rows in _batches(prompts, replies, tokens_per_batch):
        batch = score(model, [prompts[row] for row in rows], [replies[row] for row in rows])
        for row, log_probs in zip(rows, batch, strict=True):
            scored[row] = log_probs[: len(replies[row])]
    return scored


def _batches(
    prompts: Sequence[Ids], replies: Sequence[Ids], tokens_per_batch: int
) -> Iterator[list[int]]:
    """Row numbers of each batch, rows of similar length together so that padding is little."""
    sizes = [(len(r), len(p)) for p, r in zip(prompts, replies, strict=True)]
    batch: list[int] = []
    most_prompt = most_reply = 0
    for row in sorted(range(len(sizes)), key=sizes.__getitem__):
        reply, prompt = sizes[row]
        if not reply:
            continue
        wide_prompt, wide_reply = max(most_prompt, prompt), max(most_reply, reply)
        if batch and (len(batch) + 1) * (wide_prompt + wide_reply) > tokens_per_batch:
            yield batch
            batch, wide_prompt, wide_reply = [], prompt, reply
        batch.append(row)
        most_prompt, most_reply = wide_prompt, wide_reply
    if batch:
        yield batch


def _score_states(backbone: Backbone, prompts: list[Ids], replies: list[Ids]) -> list[Tensor]:
    """(T,) float32 on the CPU of each reply."""
    scored = []
    for hidden, reply in zip(backbone.reply_states(prompts, replies), replies, strict=True):
        logits = backbone.logits(hidden)  # (T, V)
        chosen = logits.gather(1, torch.tensor(reply, device=logits.device)[:, None]).squeeze(1)
        scored.append((chosen - logits.logsumexp(1)).cpu())
    return scored


def _score_batch(model: PreTrainedModel, prompts: list[Ids], replies: list[Ids]) -> Tensor:
    """(B, T) float32 on the CPU; what stands behind a reply's end means nothing."""
    config = model.config
    inputs, real = _padded(prompts, config.pad_token_id)
    targets, _ = _padded(replies, config.pad_token_id)
    starts = torch.full((len(replies), 1), config.decoder_start_token_id)
    logits = model(
        input_ids=inputs.to(model.device),
        attention_mask=real.to(model.device),
        decoder_input_ids=torch.cat([starts, targets[:, :-1]], dim=1).to(model.device),
        use_cache=False,
    ).logits.float()  # (B, T, V)
    chosen = logits.gather(2, targets.to(model.device)[:, :, None]).squeeze(2)
    # The normaliser alone, not `log_softmax`, which would hold a second (B, T, V).
    return (chosen - logits.logsumexp(2)).cpu()


def _padded(rows: list[Ids], pad: int) -> tuple[Tensor, Tensor]:
    """The rows as (B, longest) ids padded on the right, and (B, longest) int64, 1 for real ids."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(longest) < lengths[:, None]).long()
