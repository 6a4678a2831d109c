"""What a message is about, of the topics on which a bot should keep its own opinion back.

A small probe reads the sentence vector of a text, for its meaning, and the hashed parts of its
words, for what the vector blurs; of Korean texts the parts alone. Of English texts a reader of the
words in their order has half the say, where there is one (`chatbot.topic_reader`). A turn that only
goes on ("And what about them?") takes the topic of the turns before it. Knows nothing of what is
done about a topic (`chatbot.policy`).

Shapes: `n` texts, `D` dimensions of a vector, `K` topics.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import InputError, ModelError, reason_of
from chatbot.folders import own_folder
from chatbot.followup import FEATURES, FollowUp
from chatbot.ngrams import is_korean, text_parts

if TYPE_CHECKING:
    from chatbot.embedding import Embedder
    from chatbot.topic_reader import TopicReader

Array = NDArray[np.float32]

SHIPPED = Path(__file__).with_name("pretrained_topics")
NONE = "none"
CRIME = "crime"
CRIME_DEED = "crime_deed"
CRIME_VICTIM = "crime_victim"
SIDES = ("deed", "victim", "subject")
"""Of crime: the person did, plans or asks how to do it; suffered or saw it; or only talks of it, as
of the news, the law or history."""

READER = "reader.safetensors"
"""Of the weights of `chatbot.topic_reader`; a folder for another encoder than MiniLM has none."""

RETRAIN = "train one with `chatbot policy train --data FILE --out FOLDER`"
MAX_READ_TURNS = 8
"""Turns looked at, newest first: an older topic that still matters was touched since."""


def own_detector(digest: str) -> Path:
    """Where a detector trained on this machine for a text encoder lies."""
    return own_folder("topics", digest)


def detector_folder(digest: str) -> Path:
    """Where the detector for a text encoder lies: trained on this machine, else the shipped one."""
    own = own_detector(digest)
    return own if own.is_dir() else SHIPPED


def check_encoder(what: str, trained_for: str, embedder: "Embedder") -> None:
    """Raises ModelError where `what` was trained on the vectors of another encoder."""
    if trained_for != embedder.identity["digest"]:
        name = embedder.identity["name"]
        raise ModelError(
            f"{what} was trained on the vectors of another text encoder ({trained_for[:12]}) than "
            f"{name}; train one with `chatbot policy train --encoder {name} --data FILE`"
        )


@dataclass(frozen=True, slots=True)
class Topics:
    """What the last turn of a conversation is about.

    Attributes:
        probabilities: topic -> probability; they sum to 1, `none` is one of them.
        victim: of messages about crime, the probability that the person suffered or saw it.
        subject: of the same, that the person only talks of crime; what is left is for a deed.
        carried: the share of `probabilities` that comes from earlier turns.
    """

    probabilities: Mapping[str, float]
    victim: float = 0.0
    subject: float = 0.0
    carried: float = 0.0

    @property
    def top(self) -> str:
        """The most probable topic."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def of(self, detector: str) -> float:
        """The probability of a topic, or of one of the two sides of crime.

        Raises:
            InputError: there is no such detector; the message lists them.
        """
        if detector == CRIME_DEED:
            return self.probabilities[CRIME] * (1 - self.victim - self.subject)
        if detector == CRIME_VICTIM:
            return self.probabilities[CRIME] * self.victim
        if detector not in self.probabilities:
            known = ", ".join([*self.probabilities, CRIME_DEED, CRIME_VICTIM])
            raise InputError(f"no detector named {detector!r}; there are {known}")
        return self.probabilities[detector]


@dataclass(frozen=True, slots=True)
class Probe:
    """The weights of the detector.

    Attributes:
        topics: names of the K topics.
        hidden_weight: (H, D) and hidden_bias: (H,), from a vector to the hidden units.
        out_weight: (K + 3, H) and out_bias: (K + 3,); the last outputs are of `SIDES`.
        parts_weight: (buckets, K + 3), summed over the parts of a text.
        parts_rarity: (buckets,), how much a part counts beside the others of its text.
        temperature: divides the logits; calibrated on texts held back.
        encoder: digest of the encoder whose vectors it was trained on.
        follow_up: weights of `chatbot.followup`, which depend on the encoder too.
    """

    topics: tuple[str, ...]
    hidden_weight: Array
    hidden_bias: Array
    out_weight: Array
    out_bias: Array
    parts_weight: Array
    parts_rarity: Array
    temperature: float
    encoder: str
    follow_up: Mapping[str, float]

    def logits(self, vectors: Array, texts: Sequence[str]) -> Array:
        """(n, K + 3) of the topics and the sides of crime.

        Args:
            vectors: (n, D) unit vectors of the texts.
        """
        hidden = np.maximum(seen(vectors, texts) @ self.hidden_weight.T + self.hidden_bias, 0)
        logits: Array = hidden @ self.out_weight.T + self.out_bias
        return logits + parts_logits(texts, self.parts_weight, self.parts_rarity)

    def probabilities(self, logits: Array) -> tuple[Array, Array]:
        """Of the topics, (n, K), and of the sides of crime, (n, 3), of (n, K + 3) logits."""
        n = len(self.topics)
        return _softmax(logits[:, :n] / self.temperature), _softmax(logits[:, n:])

    def save(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Writes model.safetensors, in 16 bits, and config.json with `card` beside the names."""
        from safetensors.numpy import save_file

        tensors = {name: getattr(self, name).astype(np.float16) for name in _TENSORS}
        save_file(tensors, folder / "model.safetensors")
        config = {
            "topics": self.topics,
            "temperature": self.temperature,
            "encoder": self.encoder,
            "follow_up": dict(self.follow_up),
            **card,
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Probe":
        """The probe of a folder that `save` wrote.

        Raises:
            ModelError: a file is missing or not what it should be.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
            probe = cls(
                topics=tuple(config["topics"]),
                temperature=float(config["temperature"]),
                encoder=str(config["encoder"]),
                follow_up={name: float(config["follow_up"][name]) for name in FEATURES},
                **{name: tensors[name].astype(np.float32) for name in _TENSORS},
            )
            if len(probe.out_bias) != len(probe.topics) + len(SIDES):
                raise ValueError("its weights are of another version")
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            why = reason_of(error)
            raise ModelError(
                f"the topic detector in {folder} cannot be read: {why}; {RETRAIN}"
            ) from error
        return probe


_TENSORS = (
    "hidden_weight", "hidden_bias", "out_weight", "out_bias", "parts_weight", "parts_rarity",
)  # fmt: skip


def seen(vectors: Array, texts: Sequence[str]) -> Array:
    """(n, D) vectors as the probe sees them: zero for Korean texts.

    On sources left out of the training, the parts of Korean words alone do better than with the
    vectors of the Korean encoder, which is too small to tell topics apart.
    """
    korean = np.array([is_korean(text) for text in texts])
    return np.where(korean[:, None], np.float32(0), vectors)


def with_words_read(
    logits: Array, texts: Sequence[str], read: Callable[[Sequence[str]], Array]
) -> Array:
    """(n, K + 3) logits of a probe; of English texts their mean with those that `read` gives."""
    rows = [row for row, text in enumerate(texts) if not is_korean(text)]
    if not rows:
        return logits
    mixed = logits.copy()
    mixed[rows] = (logits[rows] + read([texts[row] for row in rows])) / 2
    return mixed


def parts_logits(texts: Sequence[str], weight: Array, rarity: Array) -> Array:
    """(n, outputs): what the words of each text give, of (buckets, outputs) and (buckets,)."""
    logits = np.empty((len(texts), weight.shape[1]), np.float32)
    for row, text in enumerate(texts):
        parts = text_parts(text, len(weight))
        logits[row] = parts_scales(parts, rarity) @ weight[parts]
    return logits


def parts_scales(parts: NDArray[np.int64], rarity: Array) -> Array:
    """(number of parts,), the rarity of the parts; of length 1, so that long texts do not shout."""
    rare = rarity[parts]
    return rare / max(1e-6, float(np.linalg.norm(rare)))


class TopicDetector:
    """Tells what the last turn of a conversation is about; safe to share by threads."""

    def __init__(
        self,
        probe: Probe,
        embedder: "Embedder",
        follow_up: FollowUp,
        reader: "TopicReader | None" = None,
    ):
        check_encoder("the topic detector", probe.encoder, embedder)
        self.probe = probe
        self.embedder = embedder
        self.follow_up = follow_up
        self.reader = reader

    @classmethod
    def load(
        cls, folder: str | Path | None = None, embedder: "Embedder | None" = None
    ) -> "TopicDetector":
        """The detector of a folder, or the shipped one.

        For an encoder that the shipped one does not fit, the one trained here for that encoder.

        Args:
            embedder: shared with others that compare texts; None loads the default one.

        Raises:
            ModelError: it cannot be read, or was trained on other vectors.
        """
        from chatbot.embedding import Embedder

        embedder = embedder or Embedder.load()
        folder = Path(folder or detector_folder(embedder.identity["digest"]))
        probe = Probe.load(folder)
        reader = None
        if (folder / READER).is_file():
            from chatbot.topic_reader import TopicReader

            reader = TopicReader.load(folder, len(probe.out_bias))
        return cls(probe, embedder, FollowUp.load(probe.follow_up), reader)

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names that `Topics.of` knows, but for `none`."""
        sides = (CRIME_DEED, CRIME_VICTIM) if CRIME in self.probe.topics else ()
        return (*(topic for topic in self.probe.topics if topic != NONE), *sides)

    def read(self, turns: Sequence[str]) -> Topics:
        """The topics of the last turn, which is a person's; the others help to understand it.

        Args:
            turns: oldest first, the bot's and the person's by turns.

        Raises:
            InputError: there are no turns.
        """
        return self.read_many([turns])[0]

    def read_many(self, conversations: Sequence[Sequence[str]]) -> list[Topics]:
        """The topics of each conversation; one call of the encoder for all."""
        if any(isinstance(turns, str) or not turns for turns in conversations):
            raise InputError("a conversation has no turns; give a list with the person's message")
        recent = [list(turns[-MAX_READ_TURNS:]) for turns in conversations]
        texts = list(dict.fromkeys(turn for turns in recent for turn in turns))
        if not texts:
            return []
        vectors = self.embedder.encode(texts)
        logits = self.probe.logits(vectors, texts)
        if self.reader is not None:
            logits = with_words_read(logits, texts, self.reader.logits)
        probabilities, sides = self.probe.probabilities(logits)
        place = {text: row for row, text in enumerate(texts)}
        read = []
        for turns in recent:
            rows = [place[turn] for turn in turns]
            read.append(self._follow(turns, vectors[rows], probabilities[rows], sides[rows]))
        return read

    def _follow(
        self, turns: Sequence[str], vectors: Array, probabilities: Array, sides: Array
    ) -> Topics:
        """The topics after the last turn, passed on from turn to turn as far as each goes on.

        What a turn leaves to `none` goes to the topics before it, times the probability that it
        goes on with them. A bot's turn gives a topic only where the person's before it had none.
        """
        none = self.probe.topics.index(NONE)
        first = (len(turns) - 1) % 2  # the person's turns are this one and every second behind it
        topics, side, carried = probabilities[first], sides[first], 0.0
        for row in range(first + 2, len(turns), 2):
            topics, side = _pass_on(probabilities[row - 1], sides[row - 1], topics, side, none)
            goes_on = self.follow_up.probability(turns[row], vectors[row], vectors[row - 2 : row])
            own = probabilities[row]
            if not self.follow_up.own_words(turns[row]):  # a topic read in it would be chance
                own = np.eye(len(own), dtype=np.float32)[none]
            carried = float(goes_on * own[none] * (1 - topics[none]))
            before = goes_on * topics
            before[none] = 1 - goes_on * (1 - topics[none])
            topics, side = _pass_on(own, sides[row], before, side, none)
        named = {name: float(value) for name, value in zip(self.probe.topics, topics, strict=True)}
        victim, subject = (float(side[SIDES.index(name)]) for name in ("victim", "subject"))
        return Topics(named, victim=victim, subject=subject, carried=carried)


def _pass_on(
    topics: Array, side: Array, before: Array, side_before: Array, none: int
) -> tuple[Array, Array]:
    """Topics whose `none` is shared out as it was before; the sides of crime likewise."""
    after = topics + topics[none] * before
    after[none] = topics[none] * before[none]
    own, inherited = 1 - topics[none], topics[none] * (1 - before[none])
    weight = own / (own + inherited) if own + inherited > 0 else 1.0
    return after, weight * side + (1 - weight) * side_before


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
