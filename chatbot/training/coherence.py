"""Trains the networks of `chatbot.coherence`: which reply stands where in dialogues.

The networks learn to find each reply among those of hundreds of other places. What their opinion
is worth beside that of saying the same again, in nats, is measured on validation dialogues: there
the true reply stands against what the generator drew in the same place, and against texts that say
again what was said before.

Shapes: `P` places of dialogues where a reply stands, `T` texts, `D` dimensions, `K` wrong replies.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from chatbot.coherence import ALIKE, FEATURES, LANGUAGES, Contexts, Network
from chatbot.errors import TrainingError
from chatbot.example_set import Encoder
from chatbot.prompt import build_context, clean_text
from chatbot.training.corpus import Split, corpus_files, read_dialogues, source_of
from chatbot.training.filters import letter_share

if TYPE_CHECKING:
    from chatbot.backbone import Backbone

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

LENGTH = 6
"""Turns of a fragment."""

READ = LENGTH - 1
"""Turns before a reply that training reads, newest first."""

_MAX_CHARACTERS = 300
_LEAST_LETTERS = 0.5
_SAME_SOURCE = 50
_MOST_ALIKE = 0.9
_LEAST_PLACES = 20
_DRAWN_PIECES = 24
_DRAWN_AT_ONCE = 24
_AMONG = 20


@dataclass(frozen=True, slots=True)
class Lesson:
    """How the networks are trained.

    Attributes:
        fragments: language -> runs of turns drawn from the training files, at most.
        valid_fragments: the same of the validation files.
        rivals: language -> places of validation dialogues where the generator draws.
        drawn: replies that it draws in each place.
        width: of the networks.
        bank: contexts of each language that a reply is held against.
    """

    fragments: Mapping[str, int]
    valid_fragments: Mapping[str, int]
    rivals: Mapping[str, int]
    drawn: int = 3
    width: int = 384
    bank: int = 256
    epochs: int = 6
    seed: int = 0


LESSON = Lesson(
    fragments={"en": 9_000, "ko": 7_000},
    valid_fragments={"en": 700, "ko": 500},
    rivals={"en": 200, "ko": 100},
)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Two to `LENGTH` turns that follow each other in a dialogue."""

    source: str
    language: str
    turns: tuple[str, ...]


Place = tuple[int, int]
"""Number of a fragment, and of the turn in it that is the reply."""


def read_fragments(
    folders: Sequence[Path], split: Split, n: Mapping[str, int], seed: int
) -> list[Fragment]:
    """Fragments in random order, about `n` of each language, of all sources.

    A source gives in proportion to the square root of its turns times its weight in the chat
    stage: large ones do not drown the others.

    Raises:
        CorpusError: a folder has no files of the split, or one is broken.
    """
    pools: dict[tuple[str, str], list[Fragment]] = defaultdict(list)
    for folder in folders:
        for file in corpus_files(folder, split=split):
            for dialogue in read_dialogues(file):
                known = dialogue.lang in LANGUAGES and source_of(dialogue.source).weight > 0
                for turns in _runs(dialogue.turns) if known else ():
                    fragment = Fragment(dialogue.source, dialogue.lang, turns)
                    pools[dialogue.lang, dialogue.source].append(fragment)
    rng = random.Random(seed)
    shares = {
        key: (source_of(key[1]).weight * len(pool)) ** 0.5 for key, pool in sorted(pools.items())
    }
    drawn = []
    for (language, source), share in shares.items():
        total = sum(value for key, value in shares.items() if key[0] == language)
        pool = pools[language, source]
        drawn += rng.sample(pool, min(len(pool), round(n[language] * share / total)))
    rng.shuffle(drawn)
    return drawn


def read_both(folders: Sequence[Path], lesson: Lesson = LESSON) -> dict[Split, list[Fragment]]:
    """The fragments of both splits that the lesson asks for."""
    return {
        "train": read_fragments(folders, "train", lesson.fragments, lesson.seed),
        "valid": read_fragments(folders, "valid", lesson.valid_fragments, lesson.seed),
    }


def _runs(turns: Sequence[str]) -> list[tuple[str, ...]]:
    """The turns in runs; those that hold a very long turn or hardly a letter are left out."""
    runs = [tuple(turns[i : i + LENGTH]) for i in range(0, max(1, len(turns) - 3), LENGTH)]
    return [
        run for run in runs
        if len(run) > 1
        and all(len(t) <= _MAX_CHARACTERS and letter_share(t) > _LEAST_LETTERS for t in run)
    ]  # fmt: skip


def draw_rivals(
    backbone: "Backbone", fragments: Sequence[Fragment], lesson: Lesson = LESSON
) -> dict[Place, list[str]]:
    """What the generator says at places of the fragments, one place in each that is taken."""
    from chatbot.decoding import draw
    from chatbot.types import Sampling

    rng = random.Random(lesson.seed)
    places = []
    for language in LANGUAGES:
        own = [i for i, one in enumerate(fragments) if one.language == language]
        taken = own[: lesson.rivals[language]]
        places += [(i, rng.randrange(1, len(fragments[i].turns))) for i in taken]
    # Of about one length together: rows that wait for others cost as much as they do.
    places.sort(key=lambda place: sum(map(len, fragments[place[0]].turns[: place[1]])))
    sampling = Sampling(candidates=lesson.drawn, max_new_tokens=_DRAWN_PIECES)
    rivals = {}
    for begin in range(0, len(places), _DRAWN_AT_ONCE):
        batch = places[begin : begin + _DRAWN_AT_ONCE]
        prompts = [_prompt(backbone, fragments[i].turns[:turn]) for i, turn in batch]
        seeds = [lesson.seed + begin + number for number in range(len(batch))]
        drawn = draw(backbone, prompts, sampling=sampling, seeds=seeds)
        for place, rows in zip(batch, drawn, strict=True):
            texts = [clean_text(backbone.text(row.ids)) for row in rows if row.finish == "end"]
            rivals[place] = [text for text in texts if text]
    return rivals


def _prompt(backbone: "Backbone", turns: Sequence[str]) -> tuple[int, ...]:
    pieces = [backbone.pieces(turn) for turn in turns]
    most = backbone.model.config.max_context
    return build_context(pieces, backbone.special, max_tokens=most).ids


@dataclass(frozen=True, slots=True)
class Lines:
    """Fragments as numbers.

    Attributes:
        vectors: (T + 1, D) of the texts; the last row is zero.
        places: (P, 2), fragment and turn.
        before: (P, READ) rows of the turns before, newest first; the last row where there is none.
        reply: (P,) rows.
        language: (P,) numbers in `LANGUAGES`.
        source: (P,) numbers of the sources.
        rivals: (P, K) rows of what the generator drew; -1 where it drew less.
    """

    vectors: Floats
    places: Rows
    before: Rows
    reply: Rows
    language: Rows
    source: Rows
    rivals: Rows

    @classmethod
    def of(
        cls,
        fragments: Sequence[Fragment],
        rivals: Mapping[Place, Sequence[str]],
        embedder: Encoder,
    ) -> "Lines":
        texts = dict.fromkeys(turn for one in fragments for turn in one.turns)
        texts |= dict.fromkeys(text for drawn in rivals.values() for text in drawn)
        vectors = embedder.encode(list(texts))
        row_of = {text: row for row, text in enumerate(texts)}
        places = [(i, t) for i, one in enumerate(fragments) for t in range(1, len(one.turns))]
        sources = sorted({one.source for one in fragments})
        none, most = len(texts), max([1, *map(len, rivals.values())])
        before = np.full((len(places), READ), none)
        drawn = np.full((len(places), most), -1)
        for row, (i, t) in enumerate(places):
            earlier = [row_of[turn] for turn in fragments[i].turns[:t][::-1]][:READ]
            before[row, : len(earlier)] = earlier
            own = [row_of[text] for text in rivals.get((i, t), ())]
            drawn[row, : len(own)] = own
        return cls(
            vectors=np.concatenate([vectors, np.zeros_like(vectors[:1])]),
            places=np.array(places),
            before=before,
            reply=np.array([row_of[fragments[i].turns[t]] for i, t in places]),
            language=np.array([LANGUAGES.index(fragments[i].language) for i, _ in places]),
            source=np.array([sources.index(fragments[i].source) for i, _ in places]),
            rivals=drawn,
        )

    def contexts(self, rows: Rows, kept: Rows | None = None) -> Contexts:
        """The contexts of some places; with `kept`, only so many turns of each."""
        none = len(self.vectors) - 1
        most = np.full(len(rows), READ) if kept is None else kept
        befores = [one[:n] for one, n in zip(self.before[rows], most.tolist(), strict=True)]
        return Contexts.of([self.vectors[one[one != none][::-1]] for one in befores])


# -- the networks


class _Networks(nn.Module):
    """The networks while they are trained."""

    def __init__(self, dimensions: int, width: int):
        super().__init__()
        self.context_in = nn.Linear(3 * dimensions, width, bias=False)
        self.context_out = nn.Linear(width, dimensions, bias=False)
        self.reply_in = nn.Linear(dimensions, width, bias=False)
        self.reply_out = nn.Linear(width, dimensions, bias=False)
        for layer in (self.context_out, self.reply_out):  # begins as the similarity of texts
            nn.init.normal_(layer.weight, std=0.003)
        self.mix = nn.Parameter(torch.tensor([1.0, 0.3, 0.2]))
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        self.dropout = nn.Dropout(0.25)

    def forward(self, turns: Tensor, replies: Tensor) -> Tensor:
        """(P, 3, D), (P, D) -> (P, P) logits, context by reply."""
        hidden = self.dropout(torch.relu(self.context_in(self.dropout(turns).flatten(1))))
        context = torch.einsum("ptd,t->pd", turns, self.mix) + self.context_out(hidden)
        hidden = self.dropout(torch.relu(self.reply_in(self.dropout(replies))))
        reply = replies + self.reply_out(hidden)
        return self.log_scale.exp() * F.normalize(context, dim=1) @ F.normalize(reply, dim=1).T

    def tensors(self) -> dict[str, Floats]:
        weights = {
            "context_in": self.context_in.weight.T, "context_out": self.context_out.weight.T,
            "reply_in": self.reply_in.weight.T, "reply_out": self.reply_out.weight.T,
            "mix": self.mix, "scale": self.log_scale.exp()[None],
        }  # fmt: skip
        return {name: _as_stored(tensor) for name, tensor in weights.items()}


def _as_stored(tensor: Tensor) -> Floats:
    """Through half precision: what is measured is what is shipped."""
    array: Floats = tensor.detach().half().float().contiguous().numpy()
    return array


def train_networks(lines: Lines, lesson: Lesson) -> dict[str, Floats]:
    """The tensors of `Network`, with the banks."""
    torch.manual_seed(lesson.seed)
    rng = random.Random(lesson.seed)
    model = _Networks(lines.vectors.shape[1], lesson.width)
    vectors = torch.from_numpy(lines.vectors)
    epochs = [_batches(lines, rng) for _ in range(lesson.epochs)]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, sum(map(len, epochs)) + 1, pct_start=0.1
    )
    for number, batches in enumerate(epochs, start=1):
        total = 0.0
        for rows in batches:
            loss = _loss(model, vectors, lines, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        logger.info("epoch %d: loss %.3f", number, total / len(batches))
    model.eval()
    tensors = model.tensors()
    network = Network(tensors, {}, "")
    for code, language in enumerate(LANGUAGES):
        own = np.flatnonzero(lines.language == code)
        chosen = np.array(rng.sample(own.tolist(), min(lesson.bank, len(own))), np.int64)
        bank = torch.from_numpy(network.contexts(lines.contexts(chosen)))
        tensors[f"bank_{language}"] = _as_stored(bank)
    return tensors


def _batches(lines: Lines, rng: random.Random) -> list[Rows]:
    """The places in batches of one language, each of two runs of fragments of one source.

    Foreign replies of one's own source, and of one's own dialogue, are the hard ones.
    """
    cuts = np.flatnonzero(np.diff(lines.places[:, 0])) + 1
    pools: dict[tuple[int, int], list[Rows]] = defaultdict(list)
    for fragment in np.split(np.arange(len(lines.places)), cuts):
        pools[int(lines.language[fragment[0]]), int(lines.source[fragment[0]])].append(fragment)
    batches = []
    for code in range(len(LANGUAGES)):
        runs = []
        for pool in (pool for (own, _), pool in sorted(pools.items()) if own == code):
            rng.shuffle(pool)
            runs += [pool[i : i + _SAME_SOURCE] for i in range(0, len(pool), _SAME_SOURCE)]
        rng.shuffle(runs)
        for i in range(0, len(runs), 2):
            batches.append(np.concatenate([one for run in runs[i : i + 2] for one in run]))
    rng.shuffle(batches)
    return batches


def _loss(model: _Networks, vectors: Tensor, lines: Lines, rows: Rows) -> Tensor:
    """Cross-entropy of finding the reply of a context and the context of a reply."""
    none = len(lines.vectors) - 1
    before = torch.from_numpy(lines.before[rows])
    drawn = torch.rand(len(rows))  # many a conversation is young: older turns go at random
    before[drawn < 0.35, 2:] = none
    before[drawn < 0.15, 1] = none
    earlier = vectors[before[:, 2:]].sum(1)
    earlier = earlier / (before[:, 2:] != none).sum(1, keepdim=True).clamp_min(1)
    turns = torch.stack([vectors[before[:, 0]], vectors[before[:, 1]], earlier], 1)
    reply = torch.from_numpy(lines.reply[rows])
    logits = model(turns, vectors[reply])
    alike = (reply[:, None] == reply[None]) & ~torch.eye(len(rows), dtype=torch.bool)
    logits = logits.masked_fill(alike, -1e4)
    own = torch.arange(len(rows))
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)


# -- what their opinion is worth


def fit_weights(network: Network, lines: Lines, places: Rows, seed: int) -> tuple[float, ...]:
    """Of each of `FEATURES`: what makes the true replies likeliest among wrong ones.

    Args:
        places: some of the validation lines, which the networks never saw, in one language.
    """
    rows = np.concatenate([lines.reply[places, None], wrong_replies(lines, places, seed)], 1)
    given = torch.from_numpy(_features(network, lines, places, rows))  # (P, K + 1, F)
    is_none = torch.from_numpy(rows < 0)
    weights = torch.zeros(len(FEATURES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = (given @ weights).masked_fill(is_none, -1e4)
        loss = F.cross_entropy(logits, torch.zeros(len(rows), dtype=torch.long))
        loss = loss + 1e-4 * weights.pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    match, *others = weights.detach().tolist()
    return (round(max(0.0, match), 3), *(round(min(0.0, one), 3) for one in others))


def wrong_replies(lines: Lines, places: Rows, seed: int) -> Rows:
    """(P, K) rows: what the generator drew, and texts that say again what was said; -1 for none.

    Of the latter one that is near the person's turn and one near the bot's, neither of them nearly
    the true reply. Where the generator drew nothing, any reply of another place stands for it.
    """
    rng = np.random.default_rng(seed)
    drawn = lines.rivals[places].copy()
    is_bare = (drawn < 0).all(1)
    drawn[is_bare, 0] = rng.choice(lines.reply[places], is_bare.sum())
    pool = np.unique(lines.reply)
    true, none = lines.reply[places], len(lines.vectors) - 1
    far = lines.vectors[true] @ lines.vectors[pool].T < _MOST_ALIKE  # (P, pool)
    columns, least = [drawn], ALIKE[LANGUAGES[int(lines.language[places[0]])]]
    for turn in (0, 1):
        rows = lines.before[places, turn]
        near = np.where(far, lines.vectors[rows] @ lines.vectors[pool].T, -1)
        best = near.argmax(1)
        is_near = (near.max(1) > least) & (rows != none)
        columns.append(np.where(is_near, pool[best], -1)[:, None])
    return np.concatenate(columns, 1)


def _features(network: Network, lines: Lines, places: Rows, rows: Rows) -> Floats:
    """(P, K, F) of the texts in `rows`, (P, K), in places of one language."""
    of = np.repeat(np.arange(len(places)), rows.shape[1])
    language = LANGUAGES[int(lines.language[places[0]])]
    replies = lines.vectors[rows.reshape(-1)]
    found = network.features(lines.contexts(places), of, replies, language)
    return found.reshape(*rows.shape, -1)


def measure(network: Network, lines: Lines, places: Rows, seed: int) -> dict[str, float]:
    """How often the true reply is first of `_AMONG`, and how often it beats one that was drawn."""
    rng = np.random.default_rng(seed)
    weights = network.weights[LANGUAGES[int(lines.language[places[0]])]]
    others = np.stack([rng.choice(places[places != p], _AMONG - 1) for p in places])
    rows = np.concatenate([lines.reply[places, None], lines.reply[others]], 1)
    scores = _features(network, lines, places, rows) @ np.array(weights, np.float32)
    is_first = scores[:, 0] > scores[:, 1:].max(1)
    told = {"places": len(places), f"first_of_{_AMONG}": round(float(is_first.mean()), 4)}
    drawn = places[(lines.rivals[places] >= 0).any(1)]
    if len(drawn):
        rows = np.concatenate([lines.reply[drawn, None], lines.rivals[drawn]], 1)
        scores = _features(network, lines, drawn, rows) @ np.array(weights, np.float32)
        gaps = (scores[:, :1] - scores[:, 1:])[rows[:, 1:] >= 0]
        told |= {"drawn": len(gaps), "beats_drawn": round(float((gaps > 0).mean()), 4)}
    return told


def train(
    fragments: Mapping[Split, Sequence[Fragment]],
    rivals: Mapping[Place, Sequence[str]],
    embedder: Encoder,
    lesson: Lesson = LESSON,
) -> tuple[Network, dict[str, Any]]:
    """The networks, and what they do on validation fragments that were not used for the weights.

    Args:
        fragments: of both splits, as `read_fragments` makes them.
        rivals: what the generator drew in the validation fragments.

    Raises:
        TrainingError: a language has too few dialogues to train or to validate on.
    """
    lines = Lines.of(fragments["train"], {}, embedder)
    held = Lines.of(fragments["valid"], rivals, embedder)
    for code, language in enumerate(LANGUAGES):
        n = [int((some.language == code).sum()) for some in (lines, held)]
        if min(n) < _LEAST_PLACES:
            raise TrainingError(
                f"{n[0]} replies in {language!r} to train on and {n[1]} to validate on, fewer than "
                f"{_LEAST_PLACES}; give folders with more *.train.jsonl and *.valid.jsonl"
            )
    tensors = train_networks(lines, lesson)
    network = Network(tensors, {}, embedder.identity["digest"])
    weights, valid = {}, {}
    for code, language in enumerate(LANGUAGES):
        own = np.flatnonzero(held.language == code)
        is_fitted = held.places[own, 0] % 2 == 0
        has_rivals = (held.rivals[own] >= 0).any(1)
        fitted = own[is_fitted & has_rivals] if (is_fitted & has_rivals).any() else own[is_fitted]
        weights[language] = fit_weights(network, held, fitted, lesson.seed)
        known = Network(tensors, weights, network.encoder)
        valid[language] = measure(known, held, own[~is_fitted], lesson.seed)
    return Network(tensors, weights, network.encoder), {"seed": lesson.seed, "valid": valid}
