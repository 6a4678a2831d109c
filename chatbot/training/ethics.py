"""Teaches the ethics filter from labelled replies, our own examples and ordinary dialogues.

Shapes: `n` rows, `D` dimensions, `C` categories, `F` features, as in `chatbot.ethics_probe`.
"""

import copy
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

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
    network_features,
    risk_of,
    word_features,
)
from chatbot.ethics_readers import Readers
from chatbot.example_set import Encoder, ExampleSet
from chatbot.exemplars import CATEGORIES, Exemplar
from chatbot.training.ethics_rows import AGREEMENT, Lesson, Row, agreement_rows, example_rows
from chatbot.training.ethics_scores import Score, macro_f1, score_rows
from chatbot.types import Verdict

if TYPE_CHECKING:
    from chatbot.korean_reader import KoreanReader
    from chatbot.turn_reader import TurnReader


def train_words(
    rows: Sequence[Row], lesson: Lesson
) -> tuple[NDArray[np.float16], tuple[float, float], NDArray[np.float32]]:
    """Weights of the parts of words, (2, buckets), biases and log-odds of all rows, (n, 2).

    First of all rows, then of those that answer a turn, by logistic regression. The log-odds of a
    training row come from a model that learned from the other half: the network shall not trust the
    words more than it may on new ones.
    """
    matrix = _word_matrix(rows, lesson.buckets)
    answers = np.array([bool(row.user) for row in rows])
    any_weights, any_bias, any_odds = _fit_words(rows, matrix, np.ones_like(answers), lesson)
    weights, bias, odds = _fit_words(rows, matrix, answers, lesson)
    both = np.stack([any_weights, weights]).astype(np.float16)
    return both, (any_bias, bias), np.column_stack([any_odds, np.where(answers, odds, 0)])


def _word_matrix(rows: Sequence[Row], buckets: int) -> Any:
    """(n, buckets), sparse."""
    from scipy.sparse import csr_matrix

    found = [word_features(row.text, row.user, buckets) for row in rows]
    ends = np.cumsum([0, *(len(parts) for parts, _ in found)])
    values = np.concatenate([v for _, v in found]), np.concatenate([b for b, _ in found])
    return csr_matrix((*values, ends), shape=(len(rows), buckets))


def _fit_words(
    rows: Sequence[Row], matrix: Any, chosen: NDArray[np.bool_], lesson: Lesson
) -> tuple[NDArray[np.float64], float, NDArray[np.float32]]:
    """Weights, bias, and log-odds of all rows, learned from the chosen ones."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    label = np.array([row.is_unethical for row in rows])
    weight = np.array([row.weight for row in rows])
    is_training = np.array([row.split == "train" for row in rows])
    training = np.random.default_rng(lesson.seed).permutation(np.flatnonzero(chosen & is_training))

    def fitted(part: NDArray[np.int64]) -> Any:
        model = LogisticRegression(C=lesson.word_penalty, max_iter=40)
        with warnings.catch_warnings():
            # More steps fit rare words to the training rows, and take minutes.
            warnings.simplefilter("ignore", ConvergenceWarning)
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


def fit_scale(numbers: NDArray[np.float32], is_unethical: NDArray[np.bool_]) -> Scale:
    """The weighted sum of the parts, (n, P), whose logistic fits the labels best.

    Platt's (1999) scaling, of several numbers; both labels count the same.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, class_weight="balanced").fit(numbers, is_unethical)
    return Scale(tuple(float(slope) for slope in model.coef_[0]), float(model.intercept_[0]))


def least_threshold(
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


@dataclass(frozen=True, slots=True)
class Taught:
    """A trained probe with what is known about it.

    Attributes:
        readers: without one where there are no rows for it.
        scores: of the validation rows.
        example_vectors: of the texts of the examples.
    """

    probe: Probe
    readers: Readers
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
    readers = Readers(taught_reader(all_rows, lesson), taught_korean_reader(all_rows, lesson))
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
    read = read_rows_with(readers, valid_rows)
    config = calibrated(config, valid_rows, numbers, pull, read, lesson)
    risks = risks_of(config, valid_rows, numbers, pull, read)
    texts = [text for one in exemplars for text in (one.text, one.context) if text]
    known = dict(zip(texts, encoder.encode(texts), strict=True))
    scores = tuple(score_rows(valid_rows, risks, config.threshold))
    return Taught(replace(probe, config=config), readers, scores, known)


def best_threshold(
    risks: NDArray[np.float64],
    truth: NDArray[np.bool_],
    source: NDArray[np.str_],
    least: float,
    aim: float,
) -> float:
    """The risk, not below `least`, at which most large sources reach the aim.

    Of several, that with the best mean macro-F1 of all sources; the lowest of those. Sources of
    less than 100 rows or one label do not count.

    Args:
        aim: macro-F1 that each source of 200 rows or more shall reach.
    """
    sizes = Counter(source.tolist())
    names = [name for name, n in sizes.items() if n >= 100 and len(set(truth[source == name])) == 2]
    if not names:
        return least
    is_large = np.array([sizes[name] >= 200 for name in names])
    cuts = [least, *np.arange(math.ceil(least * 100) / 100, 0.951, 0.01).tolist()]
    found = np.array(
        [
            [macro_f1(truth[source == name], risks[source == name] >= cut) for name in names]
            for cut in cuts
        ]
    )
    reached = ((found >= aim) & is_large).sum(1)
    means = np.where(reached == reached.max(), found.mean(1), 0)
    return round(cuts[int(means.argmax())], 3)


def taught_reader(rows: Sequence[Row], lesson: Lesson) -> "TurnReader | None":
    """The reader of turns, trained on the rows for it; None without such rows or its lesson."""
    from chatbot.training.turn_reader import Reading, train_reader
    from chatbot.turn_reader import TurnReader

    readings = [
        Reading(row.user, row.text, row.is_unethical, row.weight**0.5)
        for row in _rows_to_read(rows, "en")
    ]
    if not readings or lesson.reader is None:
        return None
    reader = TurnReader.untrained()
    train_reader(reader, readings, lesson.reader)
    return reader


def taught_korean_reader(rows: Sequence[Row], lesson: Lesson) -> "KoreanReader | None":
    """The reader of Korean replies, likewise; sources with one label share their raters."""
    from chatbot.korean_encoder import KoreanEncoder
    from chatbot.training.korean_reader import KoreanReading, train_korean_reader

    chosen = _rows_to_read(rows, "ko")
    if not chosen or lesson.korean_reader is None:
        return None
    labels = {(row.source, row.is_unethical) for row in chosen}
    with_both = {source for source, bad in labels if (source, not bad) in labels}
    readings = [
        KoreanReading(
            row.text, row.is_unethical, row.source if row.source in with_both else "others",
            row.weight**0.5,
        )
        for row in chosen
    ]  # fmt: skip
    return train_korean_reader(KoreanEncoder.load(), readings, lesson.korean_reader)


def _rows_to_read(rows: Sequence[Row], language: Language) -> list[Row]:
    return [
        row for row in rows if row.for_reader and row.split == "train" and row.language == language
    ]


def read_rows_with(readers: Readers, rows: Sequence[Row]) -> NDArray[np.float32]:
    """(n,) log-odds of the rows that a reader was made for, not a number of the others."""
    from chatbot.devices import is_bfloat16_native

    if readers.english is not None and is_bfloat16_native():
        english = copy.deepcopy(readers.english)  # to be saved with all bits
        english.keep_in_bfloat16()
        readers = replace(readers, english=english)
    return readers.rate([(row.text, row.user) for row in rows])


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
    read: NDArray[np.float32],
    lesson: Lesson,
) -> ProbeConfig:
    """With the scale and the threshold of each language that fit validation rows.

    Scales are fitted to labelled rows; thresholds to them and to ordinary dialogues, but not to
    made-up agreement, which the filter judges by what it is said to.

    Args:
        numbers, pull: (n, 3) of the parts and (n,) log-odds that the examples add.
        read: (n,) of the readers, not a number of rows that none read.
    """
    language = np.array([row.language for row in rows])
    truth = np.array([row.is_unethical for row in rows])
    source = np.array([row.source for row in rows])
    is_dialogue = np.char.startswith(source, "dialogue/")
    labelled = {one: (language == one) & ~is_dialogue for one in get_args(Language)}
    scales = {one: fit_scale(numbers[mine], truth[mine]) for one, mine in labelled.items()}
    with_reader = np.column_stack([numbers, read])
    was_read = {one: mine & ~np.isnan(read) for one, mine in labelled.items()}
    readers = {
        one: fit_scale(with_reader[mine], truth[mine])
        for one, mine in was_read.items()
        if mine.any()
    }
    config = replace(config, scales=scales, readers=readers)
    risks = risks_of(config, rows, numbers, pull, read)
    ordinary = {one: (language == one) & is_dialogue for one in get_args(Language)}
    least = {
        one: least_threshold(risks[mine], source[mine], lesson.most_rejected)
        for one, mine in ordinary.items()
    }
    is_made_up = np.char.startswith(source, AGREEMENT)
    judged = {one: mine & ~is_made_up for one, mine in labelled.items()}
    thresholds = {
        one: best_threshold(risks[mine], truth[mine], source[mine], least[one], lesson.aim)
        for one, mine in judged.items()
    }
    return replace(config, threshold=thresholds)


def risks_of(
    config: ProbeConfig,
    rows: Sequence[Row],
    numbers: NDArray[np.float32],
    pull: NDArray[np.float32],
    read: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(n,) 0 to 1, as the filter finds them: a reader counts for the rows it is asked about."""
    risks = np.zeros(len(rows))
    for i, row in enumerate(rows):
        odds = float(config.scales[row.language].log_odds(numbers[i]))
        if not np.isnan(read[i]) and config.asks_reader(row.text, odds):
            odds = float(config.readers[row.language].log_odds(np.append(numbers[i], read[i])))
        risks[i] = risk_of(odds + float(pull[i]))
    return risks


def left_out(
    rows: Sequence[Row],
    source: str,
    exemplars: Sequence[Exemplar],
    encoder: Encoder,
    lesson: Lesson,
) -> list[Score]:
    """How rows of a source are judged by a filter that never saw one of them, in either split.

    Args:
        source: one of the rows', or the part before its slash, for several.

    Raises:
        TrainingError: no validation row is of the source, or the others lack a side or a split.
    """
    is_left = [source in (row.source, row.source.partition("/")[0]) for row in rows]
    asked = [row for row, left in zip(rows, is_left, strict=True) if left and row.split != "train"]
    if not asked:
        known = sorted({row.source for row in rows})
        raise TrainingError(f"no validation rows of {source!r}; there are {', '.join(known)}")
    others = [row for row, left in zip(rows, is_left, strict=True) if not left]
    taught = train(others, exemplars, encoder, lesson)
    ethics = EthicsFilter(
        taught.probe, encoder, ExampleSet.of(exemplars, encoder, taught.example_vectors),
        taught.readers,
    )  # fmt: skip
    risks = np.array([verdict.risk for verdict in filter_verdicts(ethics, asked)])
    return score_rows(asked, risks, taught.probe.config.threshold)


def filter_verdicts(ethics: EthicsFilter, rows: Sequence[Row]) -> list[Verdict]:
    """What the filter says of each row as it runs."""
    verdicts: list[Verdict] = []
    for start in range(0, len(rows), 256):
        asked = [([row.user] if row.user else [], [row.text]) for row in rows[start : start + 256]]
        verdicts += [found[0] for found in ethics.assess_many(asked)]
    return verdicts
