"""How a generator talks when nobody steers it, measured once on replies to plain openers.

Steering is calibrated against this: how often words come by themselves, how long replies are, and
how a word that has begun goes on. Knows nothing of attributes.

Shapes: `n` positions of all sampled replies, `H` hidden size, `V` pieces.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from chatbot.backbone import Backbone
from chatbot.sampling import choose
from chatbot.types import Sampling

OPENERS = {
    "en": (
        "Hi! How are you today?",
        "What do you like to do in your free time?",
        "I had a long day at work.",
        "Did you watch anything good lately?",
        "My sister is coming to visit me next week.",
        "What should I do this weekend?",
        "I don't know what to say.",
        "Tell me something about yourself.",
    ),
    "ko": (
        "안녕! 오늘 어때?",
        "시간 날 때 뭐 하는 거 좋아해?",
        "오늘 일이 많아서 힘들었어.",
        "요즘 재미있게 본 거 있어?",
        "다음 주에 동생이 놀러 와.",
        "이번 주말에 뭐 하지?",
        "무슨 말을 해야 할지 모르겠어.",
        "너에 대해서 얘기해 줘.",
    ),
}
"""Said to the generator; neither happy nor angry, on no topic."""

LEAD_INS = {"en": ("I really", "That was a"), "ko": ("나는 진짜", "그건 좀")}
"""What stands before a word whose continuations are asked for; the answers are averaged."""

_SAMPLES = 8
_STEPS = 32
_SEED = 20
_LEAST_REMAINING = 3.0


class Reference:
    """Replies of one generator in one language, and what follows from them.

    Attributes:
        replies: pieces of each, drawn from the untouched model at temperature 1.
        hidden: (n, H) final hidden states, one before each piece of each reply, in order.
        remaining: expected number of pieces still to come, by the number drawn.
    """

    def __init__(self, backbone: Backbone, language: str):
        self._backbone = backbone
        self._prompts = [backbone.prompt([opener]).ids for opener in OPENERS[language]]
        self._lead_ins = [backbone.begins(text) for text in LEAD_INS[language]]
        self.replies, self.hidden = self._draw()
        self.remaining = _remaining([len(reply) for reply in self.replies])

    @property
    def length(self) -> float:
        """Mean number of pieces of a reply."""
        return self.remaining[0]

    @torch.inference_mode()
    def log_probs(self, support: Tensor) -> Tensor:
        """(n, S) of the pieces `support`, at the positions of `hidden`."""
        logits = self._backbone.logits(self.hidden)
        return logits[:, support] - logits.logsumexp(1, keepdim=True)

    @torch.inference_mode()
    def continuations(self, paths: Sequence[tuple[int, ...]]) -> Tensor:
        """(n, V) probabilities of the piece behind each of n paths of equal length.

        A path is read behind each of `LEAD_INS`, as an answer to the first opener: an estimate
        that is made once, not one for the conversation at hand.
        """
        return torch.stack([self._behind(lead_in, paths) for lead_in in self._lead_ins]).mean(0)

    def _behind(self, lead_in: Sequence[int], paths: Sequence[tuple[int, ...]]) -> Tensor:
        backbone = self._backbone
        state = backbone.start(self._prompts[:1], 1)
        _, state = backbone.step(backbone.first(self._prompts[:1], 1), state)
        for piece in lead_in:
            _, state = backbone.step(self._tensor([piece]), state)
        backbone.keep_rows(state, self._tensor([0] * len(paths)))
        for ids in zip(*paths, strict=True):
            hidden, state = backbone.step(self._tensor(ids), state)
        return backbone.logits(hidden).softmax(-1)

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, device=self._backbone.device)

    @torch.inference_mode()
    def _draw(self) -> tuple[list[list[int]], Tensor]:
        """`replies` and `hidden`."""
        backbone, n = self._backbone, len(self._prompts) * _SAMPLES
        sampling = Sampling(temperature=1.0)
        numbers = torch.rand(_STEPS, n, generator=torch.Generator().manual_seed(_SEED))
        state = backbone.start(self._prompts, _SAMPLES)
        ids = backbone.first(self._prompts, _SAMPLES)
        drawn, states = [], []
        for step in range(min(_STEPS, backbone.room(self._prompts))):
            hidden, state = backbone.step(ids, state)
            ids = choose(backbone.logits(hidden), numbers[step].to(backbone.device), sampling)
            drawn.append(ids)
            states.append(hidden)
        replies = [_until_end(backbone, row) for row in torch.stack(drawn, dim=1).tolist()]
        rows = torch.stack(states, dim=1)  # (replies, steps, H)
        hidden = torch.cat([row[: len(ids)] for row, ids in zip(rows, replies, strict=True)])
        return replies, hidden


def _until_end(backbone: Backbone, ids: list[int]) -> list[int]:
    n_said = next((n for n in range(1, len(ids)) if backbone.is_end(ids[:n])), len(ids))
    return ids[:n_said]


def _remaining(lengths: Sequence[int]) -> tuple[float, ...]:
    """Mean number of pieces still to come, given that so many were drawn and it goes on."""
    means = []
    for drawn in range(_STEPS):
        left = [length - drawn for length in lengths if length > drawn]
        means.append(max(_LEAST_REMAINING, sum(left) / len(left)) if left else _LEAST_REMAINING)
    return tuple(means)
