"""Bags of words as attribute models: how likely the next piece brings a word of a list.

A bag needs no training. It is made from a word list, the pieces of a tokenizer, the output
embedding of a generator, and what that generator says of how words go on. Words of several pieces
count on their first piece with the chance that they will be completed, and in full from there
on. Knows nothing of conversations.

Shapes: `B` rows, `H` hidden size, `V` pieces, `S` pieces of the bag (its support), `M` members.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribute_models.base import AttributeSpec
from attribute_models.lexicon import WordList
from attribute_models.trie import BARE, NOWHERE, SPACED, Pieces, PieceTrie, Place

Continuations = Callable[[Sequence[tuple[int, ...]]], Tensor]
"""Piece paths of equal length -> (n, V) probabilities of the piece behind each."""

MIN_CHANCE = 0.01
"""Beginnings that go on this way more rarely are not looked into: the word is taken as certain."""

NEIGHBOURHOOD = 10
MIN_SHARE = 0.5
MAX_NEIGHBOURS = 24
"""A piece is a soft member where at least this share of the pieces nearest to it are members."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A piece that counts in part because it is used like the words of the list.

    Attributes:
        piece: its id.
        text: how it is written.
        weight: the share of members among the pieces nearest to it.
    """

    piece: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Covered:
    """How one word of a list is found.

    Attributes:
        word: as it stands in the list.
        weight: how much one use counts.
        pieces: what it is split into inside a sentence.
        chance: that some word of the list will be complete, once the first piece is drawn.
        n_paths: piece paths of all its spellings and inflections.
    """

    word: str
    weight: float
    pieces: tuple[str, ...]
    chance: float
    n_paths: int


class Bag:
    """The words of one list, bound to one generator; an `AttributeModel`.

    Attributes:
        spec: who it is.
        words: the list.
        trie: where a reply stands among the words.
        neighbours: soft members.
        support: (S,) ids of the pieces that can bring or continue a word.
        begin: (2, 2, S) features at the border of a word: of each piece the chance and the weight
            (second index), where a word must bring its space or need not (first index).
        chances: (nodes,) that a word of the list will be complete, from each node of the trie.
    """

    def __init__(
        self,
        words: WordList,
        pieces: Pieces,
        output: Tensor,
        *,
        continuations: Continuations,
        rivals: Sequence[WordList] = (),
    ):
        """Binds a list.

        Args:
            output: (V, H) output embedding of the generator.
            continuations: what the generator expects behind the beginning of a word.
            rivals: lists whose words are no soft members: "sad" stands near "happy".
        """
        self.spec = AttributeSpec(words.name, words.language, "bag", words.digest)
        self.words = words
        self.output = output
        self.neighbours = find_neighbours(words, pieces, output, rivals)
        soft = [(one.piece, one.weight) for one in self.neighbours]
        self.trie = PieceTrie.of(words, pieces, neighbours=soft)
        self.chances, self._weights = _chances(self.trie, continuations)
        steps = {piece for children in self.trie.children for piece in children}
        ids = sorted(steps)
        self.support = torch.tensor(ids, device=output.device)
        self._column = {piece: column for column, piece in enumerate(ids)}
        begin = torch.zeros(2, 2, len(ids))
        for free, roots in ((0, (SPACED,)), (1, (SPACED, BARE))):
            for root in roots:
                for piece, child in self.trie.children[root].items():
                    begin[free, 0, self._column[piece]] = self.chances[child]
                    begin[free, 1, self._column[piece]] = self._weights[child]
        self.begin = begin.to(output.device)

    def coverage(self) -> tuple[Covered, ...]:
        """Every word of the list, in its order, with the pieces it is found by."""
        texts = self.trie.pieces.texts
        covered = []
        for word, weight in self.words.weights.items():
            paths = self.trie.forms[word]
            first = self.trie.children[SPACED][paths[0][0]]
            pieces = tuple(texts[piece] for piece in paths[0])
            covered.append(Covered(word, weight, pieces, self.chances[first], len(set(paths))))
        return tuple(covered)

    def features(self, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
        """What drawing a piece of the support would bring, for rows that stand at `places`.

        Returns:
            chance: (B, S) that a word will be complete, and weight: (B, S) of that word.
        """
        free = torch.tensor([int(place.is_free) for place in places], device=self.support.device)
        features = self.begin[free]  # (B, 2, S), a copy
        ways = [(row, *way) for row, place in enumerate(places) for way in self.ways(place)]
        if ways:
            rows, columns, chances, weights = zip(*ways, strict=True)
            inside = torch.tensor([chances, weights], device=features.device)
            features[torch.tensor(rows), :, torch.tensor(columns)] = inside.T
        return features[:, 0], features[:, 1]

    def ways(self, place: Place) -> list[tuple[int, float, float]]:
        """The pieces that go on inside a word: column of the support, chance, weight."""
        if place.node == NOWHERE:
            return []
        return [
            (self._column[piece], self.chances[child], self._weights[child])
            for piece, child in self.trie.children[place.node].items()
        ]

    def score(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Log-likelihood (B,) of `wanted` under the mass of the bag at the start of a word."""
        return self.score_logits(hidden.float() @ self.output.float().T, wanted)

    def score_logits(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """As `score`, of logits (B, V) that are at hand already."""
        mass = logits.softmax(-1)[:, self.support] @ (self.begin[0, 0] * self.begin[0, 1])
        return wanted * mass.log() + (1 - wanted) * torch.log1p(-mass)

    def gradient(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Of `score`, in closed form.

        For wanted = 1 it is W'(q - p): the mean output embedding of the bag's words less that of
        all pieces.
        """
        mass, probs, value = self._mass(hidden)
        pull = probs[:, self.support] * value  # (B, S)
        slope = pull @ self.output[self.support].float() - mass[:, None] * (
            probs @ self.output.float()
        )
        return ((wanted - mass) / (mass * (1 - mass)))[:, None] * slope

    def _mass(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mass of the bag (B,), probabilities (B, V), value of the support's pieces (S,)."""
        probs = (hidden.float() @ self.output.float().T).softmax(-1)
        value = self.begin[0, 0] * self.begin[0, 1]
        return probs[:, self.support] @ value, probs, value


def find_neighbours(
    words: WordList, pieces: Pieces, output: Tensor, rivals: Sequence[WordList]
) -> tuple[Neighbour, ...]:
    """Pieces most of whose nearest pieces, by output embedding, are words of the list.

    The vote keeps function words out, which are near to everything; a word that a rival list has,
    or whose neighbours a rival list has as often, is no member.
    """
    whole = [piece for piece in range(len(pieces.texts)) if _is_word(pieces, piece)]
    at = {pieces.texts[piece]: index for index, piece in enumerate(whole)}

    def members(one: WordList) -> Tensor:
        mask = torch.zeros(len(whole), device=output.device)
        forms = (*one.weights, *one.excluded)
        mask[[at[f" {form}"] for form in forms if f" {form}" in at]] = 1
        return mask

    own = members(words)
    if not own.any():
        return ()
    others = torch.stack([torch.zeros_like(own), *map(members, rivals)])  # (lists, M)
    rows = output[whole].float()
    rows = rows - rows.mean(0)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-9)
    taken = own.bool() | others.bool().any(0)
    near = (rows @ rows[own.bool()].T).amax(1).masked_fill(taken, -1)
    close = near.topk(min(len(whole), 8 * MAX_NEIGHBOURS)).indices
    similar = rows[close] @ rows.T  # (candidates, M)
    similar[torch.arange(len(close), device=close.device), close] = -1
    nearest = similar.topk(min(NEIGHBOURHOOD, len(whole))).indices
    share = own[nearest].mean(1)
    against = others[:, nearest].mean(2).amax(0)
    share = share.where((share > against) & ~taken[close], torch.zeros_like(share))
    best = share.sort(descending=True, stable=True)
    return tuple(
        Neighbour(whole[piece], pieces.texts[whole[piece]], round(weight, 4))
        for piece, weight in zip(close[best.indices].tolist(), best.values.tolist(), strict=True)
        if weight >= MIN_SHARE
    )[:MAX_NEIGHBOURS]


def _is_word(pieces: Pieces, piece: int) -> bool:
    text = pieces.texts[piece].strip()
    return pieces.opens[piece] and text.isalpha() and len(text) >= (3 if text.isascii() else 2)


def _chances(trie: PieceTrie, continuations: Continuations) -> tuple[list[float], list[float]]:
    """For each node: the chance that a word will be complete from there, and its mean weight.

    First the generator is asked, level by level, how the paths go on; then chances are summed
    from the leaves up. An English word is complete where no letter follows it.
    """
    ways: dict[int, dict[int, float]] = {}
    ends: dict[int, float] = {}
    reach = {node: 1.0 for root in (SPACED, BARE) for node in trie.children[root].values()}
    goes_on = torch.tensor(trie.pieces.continues)
    while level := _to_ask(trie, reach.keys() - ways.keys()):
        probs = continuations([trie.paths[node] for node in level]).float().cpu()
        ended = (1 - probs[:, goes_on].sum(1)).tolist()
        for node, row, end in zip(level, probs, ended, strict=True):
            children = list(trie.children[node].items())
            ends[node] = end
            there = row[[piece for piece, _ in children]].tolist()
            ways[node] = {child: way for (_, child), way in zip(children, there, strict=True)}
            for child, way in ways[node].items():
                if reach[node] * way >= MIN_CHANCE:
                    reach[child] = max(reach.get(child, 0.0), reach[node] * way)
    chances = [1.0] * len(trie.children)
    weights = [weight or 1.0 for weight in trie.weights]
    for node in sorted(ways, key=lambda node: -len(trie.paths[node])):
        is_end = trie.weights[node] > 0
        sums = [(ends[node], trie.weights[node])] if is_end else []
        for piece, child in trie.children[node].items():
            if not (is_end and trie.pieces.opens[piece]):
                sums.append((ways[node][child] * chances[child], weights[child]))
        chances[node] = min(1.0, sum(chance for chance, _ in sums))
        if chances[node] > 0:
            weights[node] = sum(chance * weight for chance, weight in sums) / chances[node]
    return chances, weights


def _to_ask(trie: PieceTrie, nodes: set[int]) -> list[int]:
    """Those whose word is not yet certain, of equally many pieces: the shortest paths."""
    unsure = [node for node in nodes if not trie.weights[node] or trie.is_whole[node]]
    least = min((len(trie.paths[node]) for node in unsure), default=0)
    return sorted(node for node in unsure if len(trie.paths[node]) == least)
