"""Trains the reader of pairs: true replies against faulty ones in the same place."""

import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chatbot.devices import is_bfloat16_native
from chatbot.pair_reading import Ids, rows_of
from chatbot.training.fine_tuning import FineTuner, share_of_rate
from eval.ssa.corpus import UNSEEN, WEIGHTS, Turns, document_frequencies
from eval.ssa.model import PairReader, Plausibility
from eval.ssa.negatives import Corruptor, Reply
from eval.ssa.words import words

_LOG = logging.getLogger(__name__)

FAULTS: Mapping[str, float] = {
    "overlap": 2.5, "random": 2, "shifted": 2, "swapped": 1, "wrong answer": 1, "stutter": 0.8,
    "contradiction": 0.7, "truncated": 0.6, "generic": 0.6, "salad": 0.5, "echo": 0.5,
    "own repeated": 0.4,
}  # fmt: skip
"""How often each kind is drawn, beside the two that every group has."""

_GROUPS_PER_STEP = 12
_STEPS_PER_POOL = 16
_WARM_UP_STEPS = 60
_CONTEXT_TURNS = ((1, 2, 3, 4), (2, 2.5, 3.5, 2))
_NO_PUNCTUATION = 0.08
_RATE, _HEAD_RATE = 2e-4, 8e-4


@dataclass(frozen=True, slots=True)
class Group:
    """A context with the true reply first and faulty ones behind it."""

    context: tuple[str, ...]
    replies: tuple[Reply, ...]


class GroupMaker:
    """Draws groups from the dialogues of one source."""

    def __init__(self, dialogues: Sequence[Turns], rarity: Mapping[str, float], seed: int):
        self._rng = random.Random(seed)
        self._dialogues = dialogues
        replies = [turn for dialogue in dialogues for turn in dialogue]
        self._corruptor = Corruptor(replies, rarity, self._rng)

    def group(self) -> Group:
        rng = self._rng
        while True:
            turns = rng.choice(self._dialogues)
            i = rng.randrange(1, len(turns))
            if words(turns[i]) and words(turns[i - 1]):
                break
        (n_turns,) = rng.choices(_CONTEXT_TURNS[0], _CONTEXT_TURNS[1])
        kinds = ["random", rng.choice(["overlap", "shifted"])]
        kinds += rng.choices(list(FAULTS), list(FAULTS.values()), k=2)
        replies = [Reply(turns[i], 1.0, "true")]
        for kind in kinds:
            hidden = n_turns == 1 and kind in ("own repeated", "contradiction")
            made = None if hidden else self._corruptor.faulty(turns, i, kind)
            made = made or self._corruptor.faulty(turns, i, "random")
            replies += [made] if made else []
        group = Group(tuple(turns[max(0, i - n_turns) : i]), tuple(replies))
        return _without_punctuation(group) if rng.random() < _NO_PUNCTUATION else group


def _without_punctuation(group: Group) -> Group:
    def bare(text: str) -> str:
        return re.sub(r"[.,!?]", "", text) or text

    replies = (Reply(bare(r.text), r.target, r.kind) for r in group.replies)
    return Group(tuple(map(bare, group.context)), tuple(replies))


def train_reader(
    network: Plausibility,
    reader: PairReader,
    sources: Mapping[str, Sequence[Turns]],
    *,
    minutes: float,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> int:
    """Trains `network` in place for about that long; the number of steps.

    The learning rate falls to nothing over the time given, so a run cannot be cut short.
    """
    tuner = FineTuner(network, rate=_RATE, head_rate=_HEAD_RATE, weight_decay=0.01)
    # Half the memory and twice the speed where the processor multiplies bfloat16.
    cast = torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16_native())
    network.train()
    begin, step = time.monotonic(), 0
    for batch in _batches(reader, sources):
        spent = (time.monotonic() - begin) / (60 * minutes)
        if spent >= 1:
            break
        with cast:
            logits = network(rows_of([ids for _, ids in batch]))
        loss = _loss(logits, [group for group, _ in batch])
        value = tuner.step(loss, share_of_rate(step, spent, _WARM_UP_STEPS))
        step += 1
        on_step(step, value)
    network.eval()
    return step


_Batch = list[tuple[Group, tuple[Ids, list[Ids]]]]


def _batches(reader: PairReader, sources: Mapping[str, Sequence[Turns]]) -> Iterator[_Batch]:
    """Groups of about one length, without end."""
    rarity = document_frequencies([t for ds in sources.values() for d in ds for t in d])
    names = [name for name in sources if name not in UNSEEN]
    makers = [GroupMaker(sources[name], rarity, seed) for seed, name in enumerate(names)]
    rng = random.Random(1)
    while True:
        drawn = rng.choices(
            makers, [WEIGHTS[name] for name in names], k=_GROUPS_PER_STEP * _STEPS_PER_POOL
        )
        groups = [maker.group() for maker in drawn]
        pool = [(g, (reader.context(g.context), [reader.reply(r.text) for r in g.replies]))
                for g in groups]  # fmt: skip
        pool.sort(key=lambda item: len(item[1][0]) + sum(map(len, item[1][1])))
        batches = [pool[i : i + _GROUPS_PER_STEP] for i in range(0, len(pool), _GROUPS_PER_STEP)]
        rng.shuffle(batches)
        yield from batches


def _loss(logits: Tensor, groups: Sequence[Group]) -> Tensor:
    """How far each reply is from what it is worth, and how often the true one is not the best."""
    replies = [reply for group in groups for reply in group.replies]
    targets = torch.tensor([0.02 + 0.96 * reply.target for reply in replies])
    weights = torch.tensor([2.0 if reply.kind == "true" else 1.0 for reply in replies])
    each = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    listwise, at = logits.new_zeros(()), 0
    for group in groups:
        own = logits[at : at + len(group.replies)]
        at += len(group.replies)
        rivals = [i for i, r in enumerate(group.replies) if r.kind == "true" or r.target < 0.5]
        listwise = listwise - torch.log_softmax(own[rivals], 0)[0]
    return (each * weights).sum() / weights.sum() + 0.5 * listwise / len(groups)
