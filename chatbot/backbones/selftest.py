"""Whether a generator is taken apart rightly: its parts must give what the whole gives.

Shapes as in `chatbot.backbones.base`.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from chatbot.backbone import Backbone

_TURNS = ("Hello! How are you?", "Fine.", "What do you like?")


@torch.no_grad()
def disagreements(backbone: "Backbone") -> list[str]:
    """What differs from the model as transformers runs it, in words; empty where nothing does."""
    prompt = backbone.prompt(_TURNS).ids
    ids, state = backbone.first([prompt], 1), backbone.start([prompt], 1)
    hidden, after = backbone.step(ids, state)
    found = []
    if not _near(backbone.logits(hidden)[0], _whole(backbone, prompt)):
        found.append("its logits are not its output embedding times its final hidden state")
    read, resume = backbone.last_blocks(ids, state, 1)
    if not _near(resume(read)[0], hidden):
        found.append("its last block, run alone, gives another final hidden state")
    piece = backbone.logits(hidden).argmax(-1)
    certain = torch.nn.functional.one_hot(piece, backbone.vocab_size).to(hidden.dtype)
    if not _near(backbone.soft_step(certain, after)[0], backbone.step(piece, after)[0]):
        found.append("it reads an embedding otherwise than the piece of that embedding")
    short = backbone.prompt(_TURNS[:1]).ids
    pair, rows = backbone.start([prompt, short], 1), backbone.first([prompt, short], 1)
    apart = (hidden, backbone.step(rows[1:], backbone.start([short], 1))[0])
    if not _near(backbone.step(rows, pair)[0], torch.cat(apart)):
        found.append("conversations of different lengths change each other in a batch")
    return found


def _whole(backbone: "Backbone", prompt: tuple[int, ...]) -> Tensor:
    """Logits (V,) of the first piece, by the model's own forward pass without a cache."""
    model: Any = backbone.model
    given: dict[str, Tensor] = {"input_ids": torch.tensor([prompt], device=backbone.device)}
    if model.config.is_encoder_decoder:
        begin = getattr(backbone.network, "begin", [backbone.special.bos])
        given["decoder_input_ids"] = torch.tensor([begin], device=backbone.device)
    return model(**given).logits[0, -1].float()


def _near(one: Tensor, other: Tensor) -> bool:
    """Equal but for what the order of sums changes, in whichever precision."""
    one, other = one.float(), other.float()
    return bool((one - other).norm() <= 0.02 * other.norm() + 1e-6)
