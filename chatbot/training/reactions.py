"""Trains the reader of reactions (`chatbot.reactions`) from the examples of ours.

The examples, `chatbot/rules/examples/reactions.jsonl`, are replies written by us and replies drawn
by the bot, labelled by hand: {"text", "shows": [reaction, ...]}.

Shapes: `n` replies, `R` reactions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from chatbot.errors import TrainingError
from chatbot.ngrams import is_korean, text_parts
from chatbot.policy import REACTIONS
from chatbot.reactions import ReactionWeights
from chatbot.topics import parts_scales, seen

if TYPE_CHECKING:
    from chatbot.embedding import Embedder

EXAMPLES = Path(__file__).parents[1] / "rules" / "examples" / "reactions.jsonl"

N_FOLDS = 5
BUCKETS = 1 << 14

VECTOR_GAIN = 2.0
"""Of the vectors beside the parts, both of length 1: more lets them be learned sooner."""

PENALTY = 0.03
"""On the squared weights, beside the sum of the losses of all replies.

With 0.007 the mean log loss of replies left out, whether they take a side, was 0.47 instead of 0.37
(English) and 0.53 instead of 0.49 (Korean). More would still help English and blur Korean.
"""


@dataclass(frozen=True, slots=True)
class Reaction:
    """A reply and what it does."""

    text: str
    shows: frozenset[str]


def read_reactions(path: Path = EXAMPLES) -> list[Reaction]:
    """The replies of a file.

    Raises:
        TrainingError: a line is something else; the message names it.
    """
    told = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            one = Reaction(record["text"], frozenset(record["shows"]))
            is_good = isinstance(one.text, str) and one.shows <= set(REACTIONS)
        except (ValueError, KeyError, TypeError):
            is_good = False
        if not is_good:
            raise TrainingError(
                f'{path}, line {number}: expected {{"text": ..., "shows": [...]}} with reactions '
                f"of {', '.join(REACTIONS)}"
            )
        told.append(one)
    return told


def train_reactions(
    examples: Sequence[Reaction], embedder: "Embedder", *, seed: int = 0
) -> tuple[ReactionWeights, dict[str, Any]]:
    """Weights that read the examples, and for the card how well others read those left out."""
    texts = [one.text for one in examples]
    vectors = embedder.encode(texts)
    goal = np.array([[name in one.shows for name in REACTIONS] for one in examples], np.float32)
    encoder = embedder.identity["digest"]
    folds = np.random.default_rng(seed).permutation(len(texts)) % N_FOLDS
    read = np.zeros_like(goal)
    for fold in range(N_FOLDS):
        left, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        some = _fitted([texts[row] for row in left], vectors[left], goal[left], encoder)
        read[out] = some.read(vectors[out], [texts[row] for row in out])
    card = {"examples": len(texts), "unseen": _scores(read, goal, texts)}
    return _fitted(texts, vectors, goal, encoder), card


def _fitted(
    texts: Sequence[str], vectors: NDArray[np.float32], goal: NDArray[np.float32], encoder: str
) -> ReactionWeights:
    """Logistic regressions, one for each reaction, all fitted at once."""
    parts = [text_parts(text, BUCKETS) for text in texts]
    counts = np.bincount(np.concatenate(parts), minlength=BUCKETS)
    rarity = (np.log((1 + len(parts)) / (1 + counts)) + 1).astype(np.float32)
    lengths = [len(one) for one in parts]
    scales = np.concatenate([parts_scales(one, rarity) for one in parts])
    places = np.stack([np.repeat(np.arange(len(parts)), lengths), np.concatenate(parts)])
    bags = torch.sparse_coo_tensor(
        torch.from_numpy(places),
        torch.from_numpy(scales),
        (len(texts), BUCKETS),
        check_invariants=True,
    ).coalesce()
    given = VECTOR_GAIN * torch.from_numpy(seen(vectors, texts))
    wanted = torch.from_numpy(goal)
    of_parts, of_vector, bias = (
        torch.zeros(n, len(REACTIONS), requires_grad=True) for n in (BUCKETS, given.shape[1], 1)
    )
    weights = [of_parts, of_vector, bias]
    optimizer = torch.optim.LBFGS(weights, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = torch.sparse.mm(bags, of_parts) + given @ of_vector + bias
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        loss: Tensor = losses + PENALTY * (of_parts.pow(2).sum() + of_vector.pow(2).sum())
        loss.backward()
        return loss

    optimizer.step(closure)
    return ReactionWeights(
        vector_weight=(VECTOR_GAIN * of_vector.detach()).numpy().T,
        parts_weight=of_parts.detach().numpy(),
        parts_rarity=rarity,
        bias=bias.detach().numpy()[0],
        encoder=encoder,
    )


def _scores(
    read: NDArray[np.float32], goal: NDArray[np.float32], texts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Language -> reaction -> number, precision and recall of what is read as likely."""
    korean = np.array([is_korean(text) for text in texts])
    told: dict[str, dict[str, Any]] = {}
    for language, which in (("en", ~korean), ("ko", korean)):
        told[language] = {}
        for column, name in enumerate(REACTIONS):
            said, right = read[which, column] > 0.5, goal[which, column] > 0
            both = float((said & right).sum())
            told[language][name] = {
                "n": int(right.sum()),
                "precision": round(both / max(1, said.sum()), 3),
                "recall": round(both / max(1, right.sum()), 3),
            }
    return told
