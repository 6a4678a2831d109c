"""How well candidates answer a conversation, beyond how fluent they are.

The likeliest reply fits any conversation ("What do you do for fun?"). Two small networks on
sentence vectors that other parts of a turn need anyway tell what answers this one: a reply is held
against its context and against many other contexts, so that what fits everywhere gains nothing
(response selection, Henderson et al. 2017; Humeau et al. 2020). What says again, in whatever words,
what the person just said or the bot said before loses. Knows nothing of likelihoods nor of how both
are weighed (`chatbot.ranking`).

Shapes: `n` candidates of all conversations together, `C` contexts, `D` dimensions of a vector, `W`
width of the networks, `M` contexts of other conversations.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import InputError, ModelError, reason_of
from chatbot.example_set import Encoder, product
from chatbot.ngrams import is_korean

Floats = NDArray[np.float32]

SHIPPED = Path(__file__).with_name("pretrained_coherence")
LANGUAGES = ("en", "ko")
RETRAIN = "train it with `chatbot train coherence --data FOLDER --out FOLDER`"

MAX_READ_TURNS = 8
"""Turns looked at, newest first."""

MAX_CHARACTERS = 1_000
"""The end of a turn that is read; the encoder stops there at the latest."""

FEATURES = ("match", "echo", "own")
"""What a score is made of; see `features`."""

ALIKE: Mapping[str, float] = {"en": 0.8, "ko": 0.9}
"""Cosine from which two turns count as saying the same, more the nearer they are. The Korean
encoder puts all texts nearer to each other."""

_TENSORS = (
    "context_in", "context_out", "reply_in", "reply_out", "mix", "scale", "bank_en", "bank_ko",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contexts:
    """Conversations as the networks see them; rows are zero where there is no such turn.

    Attributes:
        last: (C, D), the person's turn that is answered.
        before: (C, D), the bot's turn before it.
        earlier: (C, D), mean of the turns before these.
        own: of each context, (number of the bot's turns, D).
    """

    last: Floats
    before: Floats
    earlier: Floats
    own: tuple[Floats, ...]

    @classmethod
    def of(cls, turns: Sequence[Floats]) -> "Contexts":
        """From the turns of each conversation, (number of turns, D), oldest first, at least one."""
        none = np.zeros_like(turns[0][-1])
        return cls(
            last=np.stack([one[-1] for one in turns]),
            before=np.stack([one[-2] if len(one) > 1 else none for one in turns]),
            earlier=np.stack([one[:-2].mean(0) if len(one) > 2 else none for one in turns]),
            own=tuple(one[-2::-2] for one in turns),
        )


@dataclass(frozen=True, slots=True)
class Network:
    """What was learned.

    Attributes:
        tensors: float32; `context_in` (3 D, W), `context_out` (W, D), `reply_in` (D, W),
            `reply_out` (W, D), `mix` (3,), `scale` (1,); `bank_en` and `bank_ko` (M, D), what the
            network makes of other contexts.
        weights: language -> of each of `FEATURES`, in nats.
        encoder: digest of the encoder whose vectors it was trained on.
    """

    tensors: Mapping[str, Floats]
    weights: Mapping[str, tuple[float, ...]]
    encoder: str

    def contexts(self, contexts: Contexts) -> Floats:
        """(C, D) of length 1, to be multiplied with replies."""
        turns = np.stack([contexts.last, contexts.before, contexts.earlier], 1)  # (C, 3, D)
        hidden = np.maximum(product(turns.reshape(len(turns), -1), self.tensors["context_in"]), 0)
        mixed = np.einsum("ctd,t->cd", turns, self.tensors["mix"])
        return _unit(mixed + product(hidden, self.tensors["context_out"]))

    def replies(self, vectors: Floats) -> Floats:
        """(n, D) of length 1."""
        hidden = np.maximum(product(vectors, self.tensors["reply_in"]), 0)
        return _unit(vectors + product(hidden, self.tensors["reply_out"]))

    def match(self, contexts: Floats, replies: Floats, language: str) -> Floats:
        """(n,) how much better each reply fits its context than others', in nats.

        Args:
            contexts, replies: (n, D), as `contexts` and `replies` make them.
        """
        scale = float(self.tensors["scale"][0])
        here = scale * np.einsum("nd,nd->n", contexts, replies)
        elsewhere = scale * product(replies, self.tensors[f"bank_{language}"].T)  # (n, M)
        most = elsewhere.max(1)
        return here - most - np.log(np.exp(elsewhere - most[:, None]).mean(1))

    def features(
        self, contexts: Contexts, of: NDArray[np.int64], replies: Floats, language: str
    ) -> Floats:
        """(n, 3): match; how near to the person's turn and to any of the bot's, beyond `ALIKE`.

        Args:
            of: (n,) which context each reply belongs to.
            replies: (n, D), all in one language.
        """
        match = self.match(self.contexts(contexts)[of], self.replies(replies), language)
        echo = np.einsum("nd,nd->n", contexts.last[of], replies)
        own = [
            float((contexts.own[context] @ reply).max(initial=0.0))
            for context, reply in zip(of.tolist(), replies, strict=True)
        ]
        near = np.maximum(np.stack([echo, np.array(own, np.float32)], 1) - ALIKE[language], 0)
        return np.concatenate([match[:, None], near], 1).astype(np.float32)

    def scores(
        self, contexts: Contexts, of: NDArray[np.int64], replies: Floats, language: str
    ) -> Floats:
        """(n,) scores in nats; arguments as of `features`."""
        weights = np.array(self.weights[language], np.float32)
        scores: Floats = self.features(contexts, of, replies, language) @ weights
        return scores

    def save(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Writes the weights in half precision, and `config.json` with what `card` tells."""
        from safetensors.numpy import save_file

        save_file(
            {name: self.tensors[name].astype(np.float16) for name in _TENSORS},
            folder / "model.safetensors",
        )
        weights = {
            language: dict(zip(FEATURES, own, strict=True))
            for language, own in self.weights.items()
        }
        config = {"encoder": self.encoder, "weights": weights, **card}
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Network":
        """The network of a folder that `save` wrote.

        Raises:
            ModelError: a file is missing or not what it should be.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
            return cls(
                tensors={name: tensors[name].astype(np.float32) for name in _TENSORS},
                weights={
                    language: tuple(float(config["weights"][language][name]) for name in FEATURES)
                    for language in LANGUAGES
                },
                encoder=str(config["encoder"]),
            )
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the coherence model in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error


class Coherence:
    """Scores candidates by how well they answer; safe to share by threads."""

    def __init__(self, network: Network, embedder: Encoder):
        if network.encoder != embedder.identity["digest"]:
            raise ModelError(
                "the coherence model was trained on the vectors of another text encoder "
                f"({network.encoder[:12]}) than {embedder.identity['name']} "
                f"({embedder.identity['digest'][:12]}); {RETRAIN}"
            )
        self.network = network
        self.embedder = embedder

    @classmethod
    def load(cls, folder: str | Path | None = None, embedder: Encoder | None = None) -> "Coherence":
        """The shipped model, or that of a folder written by `chatbot train coherence`.

        Args:
            embedder: shared with others that compare texts; None loads the default one.

        Raises:
            ModelError: it cannot be read, or was trained on other vectors.
        """
        network = Network.load(SHIPPED if folder is None else Path(folder).expanduser())
        if embedder is None:
            from chatbot.embedding import Embedder

            embedder = Embedder.load()
        return cls(network, embedder)

    def score(self, turns: Sequence[str], candidates: Sequence[str]) -> list[float]:
        """A score for each candidate to be the next turn, in nats; higher answers better.

        It is the log-odds that people said it here rather than the generator, so differences
        between candidates count, and 0 is no border.

        Args:
            turns: the conversation, oldest first; the last is the one answered.

        Raises:
            InputError: there are no turns.
        """
        return self.score_many([turns], [candidates])[0]

    def score_many(
        self, conversations: Sequence[Sequence[str]], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The scores of the candidates of each conversation; one call of the encoder for all.

        Raises:
            InputError: a conversation has no turns, or there are not as many lists of candidates.
        """
        if len(conversations) != len(candidates):
            raise InputError(
                f"{len(candidates)} lists of candidates for {len(conversations)} conversations; "
                "give one for each"
            )
        if any(isinstance(turns, str) or not turns for turns in conversations):
            raise InputError("a conversation has no turns; give a list with the person's message")
        read = [[_end(turn) for turn in turns[-MAX_READ_TURNS:]] for turns in conversations]
        said = [[_end(text) for text in texts] for texts in candidates]
        texts = list(dict.fromkeys(text for group in (*read, *said) for text in group))
        if not texts:
            return []
        known = dict(zip(texts, self.embedder.encode(texts), strict=True))
        scored: list[list[float]] = [[] for _ in conversations]
        for language in LANGUAGES:
            places = [i for i, turns in enumerate(read) if said[i] and _language(turns) == language]
            if not places:
                continue
            contexts = Contexts.of([np.stack([known[t] for t in read[i]]) for i in places])
            of = np.repeat(np.arange(len(places)), [len(said[i]) for i in places])
            replies = np.stack([known[text] for i in places for text in said[i]])
            scores = iter(self.network.scores(contexts, of, replies, language).tolist())
            for i in places:
                scored[i] = [next(scores) for _ in said[i]]
        return scored


def _language(turns: Sequence[str]) -> str:
    return "ko" if is_korean(turns[-1]) else "en"


def _end(text: str) -> str:
    return text[-MAX_CHARACTERS:]


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
