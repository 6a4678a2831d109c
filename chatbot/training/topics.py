"""Trains the detector of `chatbot.topics`, its reader, and the weights of `chatbot.followup`.

The examples in `chatbot/rules/examples` are ours and always used; labelled texts of others come
by file: lines of {"text", "topic"}, with "source" where a whole source shall be held back, "weight"
where it counts less or more than 1, and "side" of crime, one of `chatbot.topics.SIDES`.

Shapes: `n` texts, `D` dimensions of a vector, `K` topics.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from chatbot.errors import TrainingError
from chatbot.followup import FEATURES, FollowUp
from chatbot.ngrams import is_korean, text_parts
from chatbot.topics import CRIME, NONE, SIDES, Probe, parts_scales, seen, with_words_read
from chatbot.training.topic_reader import TopicLesson, TopicTexts

if TYPE_CHECKING:
    from chatbot.embedding import Embedder
    from chatbot.topic_reader import TopicReader

logger = logging.getLogger(__name__)

EXAMPLES = Path(__file__).parents[1] / "rules" / "examples"
TOPICS = (NONE, "politics", "religion", "sexual", "race", CRIME)

N_FOLDS = 2
"""Parts of the sources; each is read by a probe that was trained on the others."""

N_JOINED = 2
"""Probes, from different seeds, whose mean is shipped."""


CAUTION = 2.0
"""Added to what the reader says for `none`. With 1 the macro-F1 on English sources held back is
0.899 in place of 0.892; false alarms are 3.4 % in place of 2.8, on look-alikes 4.1 in place of 2.4.
"""

_MINILM = ("minilm", "minilm+korean")
"""Names of the encoders that read English with MiniLM."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text and what it is about.

    Attributes:
        side: of crime, one of `SIDES`; None where nobody said.
        weight: how much it counts beside others.
        source: of whom it is.
    """

    text: str
    topic: str
    side: str | None = None
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How the probe is trained.

    Attributes:
        buckets: of hashed parts of words.
        hidden: units between the vector and the topics.
        parts_dropout: share of the parts of a text left out at each step; without it the probe
            learns the words of its sources by heart.
        parts_rate: learning rate of the parts, higher because each is seen rarely.
        parts_decay: penalty on the squared weights of the parts.
        parts_gain: of the parts beside the vectors; more lets them be learned sooner.
    """

    buckets: int = 1 << 16
    hidden: int = 128
    dropout: float = 0.3
    parts_dropout: float = 0.3
    parts_decay: float = 1e-5
    learning_rate: float = 2e-3
    parts_rate: float = 1e-2
    parts_gain: float = 3.0
    epochs: int = 8
    batch_size: int = 128
    smoothing: float = 0.05
    seed: int = 0


class _Probe(nn.Module):
    def __init__(self, dimensions: int, n_out: int, settings: ProbeSettings):
        super().__init__()
        self.hidden = nn.Linear(dimensions, settings.hidden)
        self.out = nn.Linear(settings.hidden, n_out)
        self.parts = nn.EmbeddingBag(settings.buckets, n_out, mode="sum")
        self.dropout = settings.dropout
        nn.init.zeros_(self.parts.weight)

    def forward(self, vectors: Tensor, parts: Tensor, offsets: Tensor, scales: Tensor) -> Tensor:
        """(n, K + 3) logits."""
        hidden = F.dropout(F.relu(self.hidden(vectors)), self.dropout, self.training)
        bag = self.parts(parts, offsets, per_sample_weights=scales)
        return self.out(hidden) + bag


def read_examples(path: Path, *, weight: float = 1.0) -> list[Example]:
    """The examples of a file of {"text", "topic"} lines.

    Raises:
        TrainingError: a line is something else; the message names it.
    """
    examples = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            told = json.loads(line)
            text, topic, side = told["text"], told["topic"], told.get("side")
            is_good = isinstance(text, str) and bool(text.strip()) and topic in TOPICS
            is_good = is_good and (side is None or (topic == CRIME and side in SIDES))
        except (ValueError, KeyError, TypeError, AttributeError):
            is_good = False
        if not is_good:
            raise TrainingError(
                f'{path}, line {number}: expected {{"text": ..., "topic": ...}} with a topic of '
                f"{', '.join(TOPICS)}; `side` only of {CRIME}, one of {', '.join(SIDES)}"
            )
        counts = float(told.get("weight", weight))
        source = str(told.get("source", path.stem))
        examples.append(Example(text, topic, side, counts, source))
    return examples


def _lines(path: Path) -> list[str]:
    import lzma

    try:
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes()).decode("utf-8").splitlines()
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"{path} cannot be read: {error}; give a .jsonl or .jsonl.xz file"
        ) from error


def own_examples(*, weight: float = 2.0) -> list[Example]:
    """The examples in the repository, English and Korean."""
    return [
        one
        for file in sorted(EXAMPLES.glob("??.jsonl"))
        for one in read_examples(file, weight=weight)
    ]


def train_probe(
    examples: Sequence[Example],
    vectors: NDArray[np.float32],
    *,
    encoder: str,
    settings: ProbeSettings | None = None,
) -> Probe:
    """A probe of the topics in `TOPICS`; its temperature is 1.

    Args:
        vectors: (n, D) unit vectors of the examples.
        encoder: digest of the encoder they come from.
    """
    settings = settings or ProbeSettings()
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    parts = [text_parts(one.text, settings.buckets) for one in examples]
    rarity = _rarity(parts, settings.buckets)
    told = _Told.of(examples)
    model = _Probe(vectors.shape[1], len(TOPICS) + len(SIDES), settings)
    given = torch.from_numpy(seen(vectors, [one.text for one in examples]))
    optimizer = torch.optim.AdamW(
        [
            {"params": [*model.hidden.parameters(), *model.out.parameters()], "weight_decay": 0.01},
            {
                "params": model.parts.parameters(),
                "weight_decay": 0.0,
                "lr": settings.parts_rate,
            },
        ],
        lr=settings.learning_rate,
    )
    n_steps = settings.epochs * -(-len(examples) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=n_steps)
    for epoch in range(settings.epochs):
        total = 0.0
        for rows in np.array_split(
            rng.permutation(len(examples)), -(-len(examples) // settings.batch_size)
        ):
            bag = _bag([parts[row] for row in rows], rarity, rng, settings)
            logits = model(given[rows], *bag)
            loss = told.loss(logits, rows, settings.smoothing)
            penalty = settings.parts_decay * model.parts.weight.pow(2).sum()
            optimizer.zero_grad()
            (loss + penalty).backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        logger.info("epoch %d: loss %.4f", epoch + 1, total * settings.epochs / n_steps)
    return _frozen(model, rarity, encoder, settings)


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of n examples, (n,) each: topic, side of crime or -1, and weight."""

    goal: Tensor
    side: Tensor
    weight: Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], *, rarity: float = 0.25) -> "_Told":
        """Rarer topics count more, by the fourth root of how much rarer they are.

        More would find more of them, and more look-alikes too.

        Args:
            rarity: the power; 0 lets all topics count alike.
        """
        goal = torch.tensor([TOPICS.index(one.topic) for one in examples])
        side = torch.tensor([-1 if one.side is None else SIDES.index(one.side) for one in examples])
        weight = torch.tensor([one.weight for one in examples])
        counts = torch.zeros(len(TOPICS)).index_add(0, goal, weight)
        return cls(goal, side, weight * (counts.max() / counts.clamp_min(1)).pow(rarity)[goal])

    def loss(self, logits: Tensor, rows: NDArray[np.int64], smoothing: float) -> Tensor:
        """Cross entropy of the topics of some examples, and of the sides where they are known."""
        goal, side, weight = self.goal[rows], self.side[rows], self.weight[rows]
        topics, sides = logits.split([len(TOPICS), len(SIDES)], dim=1)
        losses = F.cross_entropy(topics, goal, reduction="none", label_smoothing=smoothing)
        loss = (losses * weight).sum() / weight.sum()
        known = side >= 0
        if known.any():
            loss = loss + 0.3 * F.cross_entropy(sides[known], side[known])
        return loss


def _rarity(parts: Sequence[NDArray[np.int64]], buckets: int) -> NDArray[np.float32]:
    """(buckets,) inverse document frequencies, smoothed, from 1 on."""
    counts = np.bincount(np.concatenate(parts), minlength=buckets)
    return (np.log((1 + len(parts)) / (1 + counts)) + 1).astype(np.float32)


def _bag(
    parts: Sequence[NDArray[np.int64]],
    rarity: NDArray[np.float32],
    rng: np.random.Generator,
    settings: ProbeSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Parts, where each text begins, and the weight of each part; some are left out."""
    dropout = settings.parts_dropout
    kept = [rng.random(len(one)) >= dropout for one in parts]
    offsets = np.cumsum([0, *(is_in.sum() for is_in in kept[:-1])])
    scales = [
        parts_scales(one, rarity)[is_in] * (settings.parts_gain / (1 - dropout))
        for one, is_in in zip(parts, kept, strict=True)
    ]
    left = [one[is_in] for one, is_in in zip(parts, kept, strict=True)]
    return (
        torch.from_numpy(np.concatenate(left)),
        torch.from_numpy(offsets),
        torch.from_numpy(np.concatenate(scales).astype(np.float32)),
    )


def _frozen(
    model: _Probe, rarity: NDArray[np.float32], encoder: str, settings: ProbeSettings
) -> Probe:
    def array(tensor: Tensor) -> NDArray[np.float32]:
        return tensor.detach().numpy().astype(np.float32)

    return Probe(
        topics=TOPICS,
        hidden_weight=array(model.hidden.weight),
        hidden_bias=array(model.hidden.bias),
        out_weight=array(model.out.weight),
        out_bias=array(model.out.bias),
        parts_weight=array(model.parts.weight) * np.float32(settings.parts_gain),
        parts_rarity=rarity,
        temperature=1.0,
        encoder=encoder,
        follow_up=dict.fromkeys(FEATURES, 0.0),
    )


@dataclass(frozen=True, slots=True)
class TrainedDetector:
    """What is shipped; the reader only for MiniLM, whose layers it has."""

    probe: Probe
    reader: "TopicReader | None" = None

    @property
    def temperature(self) -> float:
        """That divides the logits."""
        return self.probe.temperature

    def save(self, folder: Path, card: dict[str, Any]) -> None:
        """Writes the weights of both, and config.json with `card`."""
        self.probe.save(folder, card)
        if self.reader is not None:
            self.reader.save(folder)


class _Teacher:
    """Trains detectors from parts of the examples; what they have in common is computed once."""

    def __init__(
        self,
        examples: Sequence[Example],
        embedder: "Embedder",
        settings: ProbeSettings,
        lesson: TopicLesson | None,
    ):
        self.examples, self.settings, self.lesson = examples, settings, lesson
        self.encoder = embedder.identity["digest"]
        self.vectors = embedder.encode([one.text for one in examples])
        self.is_english = np.array([not is_korean(one.text) for one in examples])
        self.texts = None
        if lesson is not None:
            english = [one.text for one in self._chosen(self.is_english)]
            self.texts = TopicTexts(english, len(TOPICS) + len(SIDES))

    def taught(self, rows: NDArray[np.bool_], *, seed: int, n_probes: int = 1) -> TrainedDetector:
        """A detector trained on the marked examples, (n,)."""
        probes = [
            train_probe(
                self._chosen(rows), self.vectors[rows], encoder=self.encoder,
                settings=replace(self.settings, seed=seed + number),
            )
            for number in range(n_probes)
        ]  # fmt: skip
        return TrainedDetector(joined(probes), self._reader(rows, seed))

    def logits(self, detector: TrainedDetector, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(m, K + 3) of the marked examples."""
        texts = [one.text for one in self._chosen(rows)]
        logits = detector.probe.logits(self.vectors[rows], texts)
        if detector.reader is None or self.texts is None:
            return logits
        return with_words_read(logits, texts, partial(self.texts.read, detector.reader))

    def _reader(self, rows: NDArray[np.bool_], seed: int) -> "TopicReader | None":
        if self.lesson is None or self.texts is None:
            return None
        # Topics count as often as they come: the probe finds the rare ones, and the look-alikes.
        told = _Told.of(self._chosen(self.is_english), rarity=0.0)
        chosen, smoothing = np.flatnonzero(rows[self.is_english]), self.settings.smoothing
        weights = told.weight / told.weight[chosen].mean()

        def loss(logits: Tensor, places: NDArray[np.int64]) -> Tensor:
            # Times their mean, so that a batch of texts that count little changes little.
            return told.loss(logits, places, smoothing) * weights[places].mean()

        reader = self.texts.taught(chosen, loss, replace(self.lesson, seed=seed))
        with torch.no_grad():
            reader.out.bias[TOPICS.index(NONE)] += CAUTION
        return reader

    def _chosen(self, rows: NDArray[np.bool_]) -> list[Example]:
        return [one for one, is_in in zip(self.examples, rows, strict=True) if is_in]


def train_detector(
    files: Sequence[Path],
    held_back: Sequence[str],
    embedder: "Embedder",
    *,
    seed: int = 0,
    settings: ProbeSettings | None = None,
    lesson: TopicLesson | None = None,
) -> tuple[TrainedDetector, dict[str, Any]]:
    """A detector trained on the files and the examples of ours, and what its card says.

    Where sources are held back, a first one that never saw them is scored on them. Temperature
    and thresholds come of `N_FOLDS` more, each read on the sources that it was not trained on.
    In the one that comes back, trained on everything, the probe is the mean of `N_JOINED`.

    Args:
        held_back: names of sources; `a` also holds back `a/b`.
        lesson: how the reader is taught, if the encoder is MiniLM; no other has one.

    Raises:
        TrainingError: a file cannot be read, or a source to hold back is not in the files.
    """
    examples = own_examples() + [one for file in files for one in read_examples(file)]
    known = {one.source for one in examples}
    missing = [name for name in held_back if not any(_is_of(one, name) for one in known)]
    if missing:
        raise TrainingError(f"no example is of the source {missing[0]}; fix the name")
    is_minilm = embedder.identity.get("name") in _MINILM
    lesson = (lesson or TopicLesson()) if is_minilm else None
    teacher = _Teacher(examples, embedder, settings or ProbeSettings(), lesson)
    held = np.array([any(_is_of(one.source, name) for name in held_back) for one in examples])
    card: dict[str, Any] = {"examples": len(examples), "seed": seed}
    if held.any():
        first = teacher.taught(~held, seed=seed)
        unseen = [one for one, is_held in zip(examples, held, strict=True) if is_held]
        found = teacher.logits(first, held)[:, : len(TOPICS)]
        card["held_back"] = scores(found, unseen) | {"sources": list(held_back)}
    last = teacher.taught(np.ones(len(examples), np.bool_), seed=seed, n_probes=N_JOINED)
    logits = _logits_unseen(teacher, ~held, seed)[~held]
    read = [one for one, is_held in zip(examples, held, strict=True) if not is_held]
    temperature = calibrated_temperature(logits, read)
    card["thresholds"] = calibrated_thresholds(logits / temperature, read)
    card["reader"] = asdict(lesson) if lesson is not None else None
    follow_up = fit_follow_up(FollowUp.load({}), embedder)
    probe = replace(last.probe, temperature=temperature, follow_up=follow_up)
    return replace(last, probe=probe), card


def _logits_unseen(teacher: _Teacher, rows: NDArray[np.bool_], seed: int) -> NDArray[np.float32]:
    """(n, K) logits, each by a detector trained on `rows` but for those of its fold.

    A source lies in one fold whole; only our own examples, which cover all topics, are spread.
    """
    names = [one.source.partition("/")[0] for one in teacher.examples]
    rng = np.random.default_rng(seed)
    fold_of = dict(zip(sorted(set(names)), rng.permutation(len(set(names))) % N_FOLDS, strict=True))
    own = {file.stem for file in EXAMPLES.glob("??.jsonl")}
    folds = np.array([rng.integers(N_FOLDS) if name in own else fold_of[name] for name in names])
    logits = np.zeros((len(names), len(TOPICS)), np.float32)
    for number in range(N_FOLDS):
        read = rows & (folds == number)
        if read.any() and (rows & ~read).any():
            detector = teacher.taught(rows & ~read, seed=seed)
            logits[read] = teacher.logits(detector, read)[:, : len(TOPICS)]
    return logits


def joined(probes: Sequence[Probe]) -> Probe:
    """One probe whose logits are the means of those of the others."""
    n = len(probes)
    return replace(
        probes[0],  # the rarity of parts is that of the texts, the same in all
        hidden_weight=np.concatenate([one.hidden_weight for one in probes]),
        hidden_bias=np.concatenate([one.hidden_bias for one in probes]),
        out_weight=np.concatenate([one.out_weight / n for one in probes], axis=1),
        out_bias=np.mean([one.out_bias for one in probes], axis=0),
        parts_weight=np.mean([one.parts_weight for one in probes], axis=0),
    )


def _is_of(source: str, name: str) -> bool:
    return source == name or source.startswith(name + "/")


def calibrated_temperature(logits: NDArray[np.float32], examples: Sequence[Example]) -> float:
    """The temperature at which the probabilities of unseen examples are likeliest.

    Args:
        logits: (n, K).
    """
    goal = [TOPICS.index(one.topic) for one in examples]
    rows = np.arange(len(goal))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float((np.log(np.exp(scaled).sum(1)) - scaled[rows, goal]).mean())

    return float(min(np.arange(0.4, 3.01, 0.05), key=loss).round(2))


def calibrated_thresholds(
    logits: NDArray[np.float32], examples: Sequence[Example]
) -> dict[str, float]:
    """Topic -> the probability from which on saying so has the best F1 on unseen examples.

    Args:
        logits: (n, K), divided by the temperature.
    """
    raised = np.exp(logits)
    probabilities = raised / raised.sum(1, keepdims=True)
    goal = np.array([TOPICS.index(one.topic) for one in examples])
    thresholds = {}
    for number, topic in enumerate(TOPICS):
        if topic == NONE or not (goal == number).any():
            continue
        is_it = goal == number

        def f1(threshold: float, number: int = number, is_it: NDArray[np.bool_] = is_it) -> float:
            said = probabilities[:, number] >= threshold
            return float(2 * (said & is_it).sum() / max(1, said.sum() + is_it.sum()))

        # A flat top: the middle of what is as good as the best, to within half a point.
        tried = np.arange(0.1, 0.81, 0.02)
        reached = np.array([f1(threshold) for threshold in tried])
        thresholds[topic] = float(tried[reached >= reached.max() - 0.005].mean().round(2))
    return thresholds


def scores(logits: NDArray[np.float32], examples: Sequence[Example]) -> dict[str, Any]:
    """Macro-F1, false alarms among `none`, and a table of each topic.

    Args:
        logits: (n, K).
    """
    found = logits.argmax(1)
    goal = np.array([TOPICS.index(one.topic) for one in examples])
    table, all_f1 = [f"{'topic':10} {'precision':>9} {'recall':>6} {'F1':>5} {'n':>5}"], []
    for number, topic in enumerate(TOPICS):
        hits = float(((found == number) & (goal == number)).sum())
        precision = hits / max(1, (found == number).sum())
        recall = hits / max(1, (goal == number).sum())
        if n := int((goal == number).sum()):
            all_f1.append(2 * precision * recall / max(1e-9, precision + recall))
            table.append(f"{topic:10} {precision:9.3f} {recall:6.3f} {all_f1[-1]:5.3f} {n:5}")
    n_none = int((goal == 0).sum())
    alarms = float((found[goal == 0] != 0).mean()) if n_none else None
    macro = float(np.mean(all_f1))
    table.append(
        f"macro-F1 {macro:.3f}, false alarms {alarms if alarms is None else round(alarms, 3)}"
    )
    return {"n": len(goal), "macro_f1": round(macro, 4), "false_alarms": alarms, "table": table}


def fit_follow_up(
    follow_up: FollowUp, embedder: "Embedder", *, steps: int = 400
) -> dict[str, float]:
    """Weights of `FEATURES` that tell the examples in `followups.jsonl` apart."""
    told = [json.loads(line) for line in _lines(EXAMPLES / "followups.jsonl")]
    rows = []
    for one in told:
        *earlier, last = embedder.encode(one["turns"])
        features = follow_up.features(one["turns"][-1], last, np.stack(earlier))
        rows.append([features[name] for name in FEATURES])
    given = torch.tensor(rows)
    goal = torch.tensor([float(one["continues"]) for one in told])
    weights = torch.zeros(len(FEATURES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=steps)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (
            F.binary_cross_entropy_with_logits(given @ weights, goal) + 0.003 * weights.pow(2).sum()
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    return {name: round(float(w), 3) for name, w in zip(FEATURES, weights.detach(), strict=True)}
