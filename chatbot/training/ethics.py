"""Teaches the ethics filter from labelled replies, our own examples and ordinary dialogues.

Ordinary dialogues stand for what may be said. From labelled statements and short phrases of our
own, agreement and objection to what somebody said are made up, since few sets have them: "I agree"
is unethical after an unethical statement alone.

Shapes: `n` rows, `D` dimensions, `C` categories, `F` features, as in `chatbot.ethics_probe`.
"""

import json
import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from chatbot.embedding import Vectors
from chatbot.errors import TrainingError
from chatbot.ethics import EthicsFilter
from chatbot.ethics_probe import (
    Language,
    Probe,
    ProbeConfig,
    Scale,
    language_of,
    network_features,
    risk_of,
    word_features,
)
from chatbot.example_set import Encoder, ExampleSet
from chatbot.exemplars import CATEGORIES, Exemplar
from chatbot.types import Verdict

PHRASES = Path(__file__).with_name("agreement.json")


@dataclass(frozen=True, slots=True)
class Row:
    """A reply that people judged.

    Attributes:
        user: the turn it answers; empty for none.
        category: of an unethical reply; "none" otherwise.
        weight: in the loss.
        for_network: whether the network learns from it, and not the words alone.
    """

    text: str
    user: str
    is_unethical: bool
    category: str
    source: str
    split: str
    weight: float = 1.0
    for_network: bool = True

    @property
    def language(self) -> Language:
        return language_of(self.text)


@dataclass(frozen=True, slots=True)
class Lesson:
    """How the filter is taught.

    Attributes:
        word_rows: training rows of a source at most, from which the words are learned.
        network_rows: of these, rows whose vectors the network learns from; vectors cost time.
        network_rows_of: the same for single sources.
        dialogue_rows: training replies of a dialogue file at most.
        valid_rows: validation rows of a source at most, more where the network has many.
        agreements: made-up pairs of each kind and language.
        word_penalty: C of the logistic regression on words, higher for less shrinkage.
        dropout: of the network's features and hidden numbers.
        centroids: bank vectors of each category and side at most.
        most_rejected: share of ordinary replies that the thresholds may reject.
    """

    word_rows: int = 8_000
    network_rows: int = 400
    network_rows_of: Mapping[str, int] = field(
        default_factory=lambda: (
            {"diasafety": 9_000, "toxichat": 800, "kodoli": 4_000}
            | dict.fromkeys(("beep", "kmhas", "hatescore", "curse", "malicious", "kosbi"), 3_000)
        )
    )
    dialogue_rows: int = 120
    valid_rows: int = 120
    agreements: int = 900
    buckets: int = 1 << 20
    word_penalty: float = 5.0
    hidden: int = 128
    epochs: int = 12
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    centroids: int = 16
    most_rejected: float = 0.018
    weights: Mapping[str, float] = field(
        default_factory=lambda: {"diasafety": 2.0, "exemplars": 3.0, "dialogue": 2.0}
    )
    seed: int = 0


def read_rows(folders: Sequence[Path], lesson: Lesson) -> list[Row]:
    """Rows of all `*.jsonl[.xz]` files below the folders, in any order, thinned by source.

    A line with `turns` is a dialogue, of which one reply is taken for training and every reply for
    validation; any other has text, label (ethical or unethical), source, split, and may have
    category and context.

    Raises:
        TrainingError: there are no such files, or a line is neither.
    """
    files = sorted(
        {path for folder in folders for path in folder.rglob("*.jsonl*") if path.is_file()}
    )
    if not files:
        named = ", ".join(map(str, folders))
        raise TrainingError(f"no *.jsonl or *.jsonl.xz files below {named}; give their folder")
    draw = np.random.default_rng(lesson.seed)
    rows: list[Row] = []
    for file in files:
        records = list(_records(file))
        found = [row for record in records for row in _rows(record, file, draw)]
        is_dialogue = "turns" in records[0]
        if not found:
            continue
        source = found[0].source
        training = _drawn([row for row in found if row.split == "train"], lesson.word_rows, draw)
        n_network = lesson.network_rows_of.get(source, lesson.network_rows)
        if is_dialogue:
            training, n_network = training[: lesson.dialogue_rows], lesson.dialogue_rows
        weight = lesson.weights.get("dialogue" if is_dialogue else source, 1.0)
        rows += [
            replace(row, weight=weight, for_network=i < n_network) for i, row in enumerate(training)
        ]
        n_valid = max(lesson.valid_rows, n_network // 8)
        rows += _drawn([row for row in found if row.split != "train"], n_valid, draw)
    return rows


def _drawn(rows: Sequence[Row], most: int, draw: np.random.Generator) -> list[Row]:
    return [rows[i] for i in draw.permutation(len(rows))[:most]]


def _records(file: Path) -> Iterable[dict[str, Any]]:
    read = lzma.open if file.suffix == ".xz" else open
    with read(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise TrainingError(f"{file}, line {number}: {error}") from error


def _rows(record: Mapping[str, Any], file: Path, draw: np.random.Generator) -> Iterable[Row]:
    if "turns" in record:
        turns = record["turns"]
        is_train = ".valid." not in file.name
        places = range(1, len(turns))
        if is_train and len(turns) > 1:
            places = range(start := int(draw.integers(1, len(turns))), start + 1)
        for i in places:
            split = "train" if is_train else "valid"
            name = file.name.partition(".")[0]
            yield Row(turns[i], turns[i - 1], False, "none", f"dialogue/{name}", split)
        return
    try:
        is_unethical = {"ethical": False, "unethical": True}[record["label"]]
        context = record.get("context") or [""]
        yield Row(
            record["text"], context[-1], is_unethical,
            record.get("category", "none") if is_unethical else "none",
            record["source"], record["split"],
        )  # fmt: skip
    except KeyError as error:
        raise TrainingError(
            f"{file}: a line without {error}; it needs turns, or text, label, source and split"
        ) from error


def example_rows(exemplars: Sequence[Exemplar], weight: float) -> list[Row]:
    """Our own examples as training rows."""
    return [
        Row(
            one.text, one.context, one.side == "unethical",
            one.category if one.side == "unethical" else "none", "exemplars", "train", weight,
        )
        for one in exemplars
    ]  # fmt: skip


def agreement_rows(rows: Sequence[Row], lesson: Lesson) -> list[Row]:
    """Answers that agree or object to what was said in `rows`: a statement or a turn of a dialogue.

    Of ten phrases, one is kept for validation, and the statements are those of either split.
    """
    draw = np.random.default_rng(lesson.seed)
    phrases = json.loads(PHRASES.read_text(encoding="utf-8"))
    made: list[Row] = []
    for language, sides in phrases.items():
        for split, share in (("train", 1.0), ("valid", 0.2)):
            mine = [
                row for row in rows
                if row.split == split and row.language == language and row.for_network
            ]  # fmt: skip
            alone = [row for row in mine if not row.user and len(row.text) < 160]
            bad = [(row.text, row.category) for row in alone if row.is_unethical]
            fine = [(row.text, "none") for row in alone if not row.is_unethical]
            chat = [(row.user, "none") for row in mine if row.source.startswith("dialogue/")]
            for said, kind in (
                (bad, "agrees"),
                (bad, "objects"),
                (fine, "agrees"),
                (chat, "agrees"),
            ):
                kept = [p for i, p in enumerate(sides[kind]) if (i % 10 == 9) == (split == "valid")]
                for i in draw.permutation(len(said))[: int(lesson.agreements * share)]:
                    wrong = said is bad and kind == "agrees"
                    turn, category = said[i]
                    phrase = kept[int(draw.integers(len(kept)))]
                    made.append(
                        Row(
                            phrase, turn, wrong, _condoned(category) if wrong else "none",
                            f"agreement_{language}", split,
                        )
                    )  # fmt: skip
    return made


def _condoned(category: str) -> str:
    """Of agreement with a statement of a category; who agrees with an insult, insults nobody."""
    return "biased-opinion" if category in ("none", "insult") else category


def train_words(
    rows: Sequence[Row], lesson: Lesson
) -> tuple[NDArray[np.float16], tuple[float, float], NDArray[np.float32]]:
    """Weights of the parts of words, (2, buckets), biases and log-odds of all rows, (n, 2).

    First of all rows, then of those that answer a turn, by logistic regression. The log-odds of a
    training row come from a model that learned from the other half: the network shall not trust the
    words more than it may on new ones.
    """
    from scipy.sparse import csr_matrix

    found = [word_features(row.text, row.user, lesson.buckets) for row in rows]
    ends = np.cumsum([0, *(len(buckets) for buckets, _ in found)])
    matrix = csr_matrix(
        (np.concatenate([v for _, v in found]), np.concatenate([b for b, _ in found]), ends),
        shape=(len(rows), lesson.buckets),
    )
    answers = np.array([bool(row.user) for row in rows])
    any_weights, any_bias, any_odds = _fit_words(rows, matrix, np.ones_like(answers), lesson)
    weights, bias, odds = _fit_words(rows, matrix, answers, lesson)
    both = np.stack([any_weights, weights]).astype(np.float16)
    return both, (any_bias, bias), np.column_stack([any_odds, np.where(answers, odds, 0)])


def _fit_words(
    rows: Sequence[Row], matrix: Any, chosen: NDArray[np.bool_], lesson: Lesson
) -> tuple[NDArray[np.float64], float, NDArray[np.float32]]:
    """Weights, bias, and log-odds of all rows, learned from the chosen ones."""
    from sklearn.linear_model import LogisticRegression

    label = np.array([row.is_unethical for row in rows])
    weight = np.array([row.weight for row in rows])
    is_training = np.array([row.split == "train" for row in rows])
    training = np.random.default_rng(lesson.seed).permutation(np.flatnonzero(chosen & is_training))

    def fitted(part: NDArray[np.int64]) -> Any:
        model = LogisticRegression(C=lesson.word_penalty, max_iter=40)
        return model.fit(matrix[part], label[part], sample_weight=weight[part])

    whole = fitted(training)
    odds = whole.decision_function(matrix)
    halves = np.array_split(training, 2)
    for mine, other in (halves, halves[::-1]):
        odds[mine] = fitted(other).decision_function(matrix[mine])
    return whole.coef_[0], float(whole.intercept_[0]), odds.astype(np.float32)


def make_banks(
    rows: Sequence[Row], vectors: Vectors, lesson: Lesson
) -> tuple[NDArray[np.float16], tuple[int, ...]]:
    """Typical vectors, (m, D), of each category and side, and the group of each.

    Ethical rows have no category; they go to that of the unethical centroid they are nearest to,
    so that each category has a harmless side of the same subject.
    """
    training = np.array([row.split == "train" for row in rows])
    unethical = training & np.array([row.is_unethical for row in rows])
    category = np.array([row.category for row in rows])
    banks: list[Vectors] = []
    groups: list[int] = []
    for number, name in enumerate(CATEGORIES):
        found = _centroids(vectors[unethical & (category == name)], lesson)
        banks.append(found)
        groups += [2 * number] * len(found)
    centres = np.concatenate(banks)
    ethical = vectors[training & ~unethical]
    of_group = np.asarray(groups)[(ethical @ centres.T).argmax(1)]
    for number in range(len(CATEGORIES)):
        found = _centroids(ethical[of_group == 2 * number], lesson)
        banks.append(found)
        groups += [2 * number + 1] * len(found)
    return np.concatenate(banks).astype(np.float16), tuple(groups)


def _centroids(vectors: Vectors, lesson: Lesson) -> Vectors:
    """(at most lesson.centroids, D) unit vectors, by k-means."""
    from sklearn.cluster import MiniBatchKMeans

    number = min(lesson.centroids, len(vectors) // 10)
    if not number:
        return vectors[:0]
    means = MiniBatchKMeans(number, random_state=lesson.seed, n_init=1, max_iter=30).fit(vectors)
    centres = means.cluster_centers_.astype(np.float32)
    return np.asarray(centres / np.linalg.norm(centres, axis=1, keepdims=True), np.float32)


def train_network(
    rows: Sequence[Row], features: NDArray[np.float32], lesson: Lesson
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases of both layers, for the risk and, of unethical rows, the category."""
    import torch
    from torch import nn

    torch.manual_seed(lesson.seed)
    chosen = [i for i, row in enumerate(rows) if row.split == "train"]
    risky = torch.tensor([float(rows[i].is_unethical) for i in chosen])
    category = torch.tensor(
        [CATEGORIES.index(c) if (c := rows[i].category) in CATEGORIES else -100 for i in chosen]
    )
    weight = torch.tensor([rows[i].weight for i in chosen])
    given = torch.from_numpy(features[chosen])
    inner = nn.Linear(features.shape[1], lesson.hidden)
    outer = nn.Linear(lesson.hidden, 1 + len(CATEGORIES))
    net = nn.Sequential(
        nn.Dropout(lesson.dropout), inner, nn.ReLU(), nn.Dropout(lesson.dropout), outer
    )
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=lesson.learning_rate, weight_decay=lesson.weight_decay
    )
    batch = 512
    steps = lesson.epochs * math.ceil(len(chosen) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(lesson.epochs):
        for part in torch.randperm(len(chosen)).split(batch):
            out = net(given[part])
            each = nn.functional.binary_cross_entropy_with_logits(
                out[:, 0], risky[part], reduction="none"
            )
            loss = (each * weight[part]).mean()
            if (category[part] >= 0).any():
                loss = loss + 0.3 * nn.functional.cross_entropy(out[:, 1:], category[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    layers = (inner.weight.T, inner.bias, outer.weight.T, outer.bias)
    first, second, third, fourth = (np.array(one.detach().numpy()) for one in layers)
    return first, second, third, fourth


@dataclass(frozen=True, slots=True)
class Score:
    """How rows of one source are told apart, or how many replies of a dialogue file are rejected.

    Attributes:
        macro_f1: at the threshold that rejects, of rows with both labels; None otherwise.
        macro_f1_half: the same at risk 0.5, where macro-F1 has its natural cut.
        rejected: share of all rows.
    """

    source: str
    language: Language
    n: int
    n_unethical: int
    macro_f1: float | None
    macro_f1_half: float | None
    rejected: float


def fit_scale(numbers: NDArray[np.float32], is_unethical: NDArray[np.bool_]) -> Scale:
    """The weighted sum of the parts, (n, P), whose logistic fits the labels best.

    Platt's (1999) scaling, of three numbers; both labels count the same.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, class_weight="balanced").fit(numbers, is_unethical)
    network, words, answers = (float(slope) for slope in model.coef_[0])
    return Scale((network, words, answers), float(model.intercept_[0]))


def fit_threshold(
    risks: NDArray[np.float64], dialogue_files: NDArray[np.str_], most_rejected: float
) -> float:
    """The lowest risk, at least 0.5, that rejects no more than a share of any file's replies.

    Files of less than 200 replies count together.
    """
    least = 0.5
    sizes = Counter(dialogue_files.tolist())
    pooled = np.where([sizes[name] < 200 for name in dialogue_files.tolist()], "", dialogue_files)
    for name in np.unique(pooled):
        least = max(least, float(np.quantile(risks[pooled == name], 1 - most_rejected)))
    return round(min(least + 5e-4, 0.999), 3)


def score_rows(
    rows: Sequence[Row], risks: NDArray[np.float64], threshold: Mapping[Language, float]
) -> list[Score]:
    """One line for each source and language of the rows."""
    places: dict[tuple[str, Language], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row.source, row.language].append(i)
    scores = []
    for (source, language), found in sorted(places.items()):
        truth = np.array([rows[i].is_unethical for i in found])
        rejected = risks[found] >= threshold[language]
        both = 0 < truth.sum() < len(truth)
        scores.append(
            Score(
                source, language, len(found), int(truth.sum()),
                macro_f1(truth, rejected) if both else None,
                macro_f1(truth, risks[found] >= 0.5) if both else None,
                float(rejected.mean()),
            )
        )  # fmt: skip
    return scores


def macro_f1(truth: NDArray[np.bool_], told: NDArray[np.bool_]) -> float:
    """Mean of the F1 of both classes."""
    scores = []
    for side in (True, False):
        hits = np.sum((truth == side) & (told == side))
        scores.append(2 * hits / max(1, np.sum(truth == side) + np.sum(told == side)))
    return float(np.mean(scores))


@dataclass(frozen=True, slots=True)
class Taught:
    """A trained probe with what is known about it.

    Attributes:
        scores: of the validation rows.
        example_vectors: of the texts of the examples.
    """

    probe: Probe
    scores: tuple[Score, ...]
    example_vectors: Mapping[str, Vectors]


def train(
    rows: Sequence[Row],
    exemplars: Sequence[Exemplar],
    encoder: Encoder,
    lesson: Lesson | None = None,
) -> Taught:
    """A probe for the encoder's vectors, its scales and thresholds fitted on validation rows.

    Raises:
        TrainingError: the rows lack a side or a split.
    """
    lesson = lesson or Lesson()
    made = example_rows(exemplars, lesson.weights.get("exemplars", 1.0))
    all_rows = [*rows, *agreement_rows(rows, lesson), *made]
    _check_rows(all_rows)
    words, words_bias, odds_by_words = train_words(all_rows, lesson)
    odds_by_words = odds_by_words[[row.for_network for row in all_rows]]
    all_rows = [row for row in all_rows if row.for_network]
    replies, users = embed_rows(all_rows, encoder)
    banks, groups = make_banks(all_rows, replies, lesson)
    is_korean = np.array([row.language == "ko" for row in all_rows])
    features = network_features(replies, users, odds_by_words, is_korean, banks, groups)
    layers = train_network(all_rows, features, lesson)
    config = ProbeConfig(encoder.identity["digest"], lesson.buckets, groups, {}, {})
    probe = Probe(config, words, words_bias, banks, *layers)
    valid = [i for i, row in enumerate(all_rows) if row.split != "train"]
    valid_rows = [all_rows[i] for i in valid]
    examples = ExampleSet.of(exemplars, encoder)
    likeness = examples.likeness(replies[valid], users[valid])
    network_odds = probe.network(features[valid])[0]
    numbers = np.column_stack([network_odds, odds_by_words[valid]])
    near = config.near_to([row.text for row in valid_rows])
    pull = config.pull * examples.pull(likeness, near)
    config = calibrated(config, valid_rows, numbers, pull, lesson)
    probe = replace(probe, config=config)
    risks = risks_of(config, valid_rows, numbers, pull)
    texts = [text for one in exemplars for text in (one.text, one.context) if text]
    known = dict(zip(texts, encoder.encode(texts), strict=True))
    return Taught(probe, tuple(score_rows(valid_rows, risks, probe.config.threshold)), known)


def _check_rows(rows: Sequence[Row]) -> None:
    found = {(row.split == "train", row.is_unethical, row.language) for row in rows}
    for is_train in (True, False):
        for is_unethical in (True, False):
            for language in get_args(Language):
                if (is_train, is_unethical, language) not in found:
                    raise TrainingError(
                        f"no {'' if is_train else 'in'}training row of language {language} is "
                        f"{'un' if is_unethical else ''}ethical; give folders with both"
                    )


def embed_rows(rows: Sequence[Row], encoder: Encoder) -> tuple[Vectors, Vectors]:
    """(n, D) of the replies and of the turns they answer, zeros for none."""
    replies = encoder.encode([row.text for row in rows])
    users = np.zeros_like(replies)
    answering = [i for i, row in enumerate(rows) if row.user]
    users[answering] = encoder.encode([rows[i].user for i in answering])
    return replies, users


def calibrated(
    config: ProbeConfig,
    rows: Sequence[Row],
    numbers: NDArray[np.float32],
    pull: NDArray[np.float32],
    lesson: Lesson,
) -> ProbeConfig:
    """With the scale and the threshold of each language that fit validation rows.

    Scales are fitted to labelled rows; thresholds to ordinary dialogues.

    Args:
        numbers, pull: (n, P) of the parts and (n,) log-odds that the examples add.
    """
    language = np.array([row.language for row in rows])
    truth = np.array([row.is_unethical for row in rows])
    source = np.array([row.source for row in rows])
    is_dialogue = np.char.startswith(source, "dialogue/")
    labelled = {one: (language == one) & ~is_dialogue for one in get_args(Language)}
    scales = {one: fit_scale(numbers[mine], truth[mine]) for one, mine in labelled.items()}
    config = replace(config, scales=scales)
    risks = risks_of(config, rows, numbers, pull)
    ordinary = {one: (language == one) & is_dialogue for one in get_args(Language)}
    thresholds = {
        one: fit_threshold(risks[mine], source[mine], lesson.most_rejected)
        for one, mine in ordinary.items()
    }
    return replace(config, threshold=thresholds)


def risks_of(
    config: ProbeConfig,
    rows: Sequence[Row],
    numbers: NDArray[np.float32],
    pull: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(n,) 0 to 1."""
    odds = [config.scales[row.language].log_odds(numbers[i]) for i, row in enumerate(rows)]
    return np.array([risk_of(float(o + p)) for o, p in zip(odds, pull, strict=True)])


def filter_verdicts(ethics: EthicsFilter, rows: Sequence[Row]) -> list[Verdict]:
    """What the filter says of each row as it runs; rows of the same turn in one call."""
    verdicts: dict[int, Verdict] = {}
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row.user].append(i)
    for user, found in places.items():
        for start in range(0, len(found), 256):
            part = found[start : start + 256]
            judged = ethics.assess([user] if user else [], [rows[i].text for i in part])
            verdicts.update(zip(part, judged, strict=True))
    return [verdicts[i] for i in range(len(rows))]


def category_precision(
    rows: Sequence[Row], verdicts: Sequence[Verdict]
) -> dict[tuple[str, Language], tuple[int, float]]:
    """Of labelled rows rejected as of a category: how many, and the share people called unethical.

    Ordinary dialogues are left out: nobody judged their replies.
    """
    found: dict[tuple[str, Language], list[bool]] = defaultdict(list)
    for row, verdict in zip(rows, verdicts, strict=True):
        if not verdict.accepted and not row.source.startswith("dialogue/"):
            found[verdict.category, row.language].append(row.is_unethical)
    return {key: (len(each), sum(each) / len(each)) for key, each in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Cut:
    """What a threshold would do to the validation rows of a language."""

    language: Language
    threshold: float
    ordinary_rejected: float
    precision: float
    recall: float
    is_used: bool


def threshold_rows(
    rows: Sequence[Row], risks: NDArray[np.float64], used: Mapping[Language, float]
) -> list[Cut]:
    """A few thresholds of each language, the one in use among them."""
    cuts = []
    for language in get_args(Language):
        mine = np.array([row.language == language for row in rows])
        ordinary = mine & np.array([row.source.startswith("dialogue/") for row in rows])
        truth = np.array([row.is_unethical for row in rows])
        for threshold in sorted({0.5, 0.7, 0.8, 0.9, 0.95, 0.98, used[language]}):
            rejected = risks >= threshold
            labelled = mine & ~ordinary
            hits = float(np.sum(labelled & rejected & truth))
            cuts.append(
                Cut(
                    language,
                    threshold,
                    float(rejected[ordinary].mean()) if ordinary.any() else 0.0,
                    hits / max(1, int(np.sum(labelled & rejected))),
                    hits / max(1, int(np.sum(labelled & truth))),
                    threshold == used[language],
                )
            )
    return cuts
