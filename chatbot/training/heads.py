"""Trains the learned attributes of one generator: states, heads, reader, calibration, card.

What a head is stands in `attribute_models.heads`; here a generator and an encoder are brought to
the labelled replies, and strengths are calibrated by drawing replies.

Shapes: `H` hidden size, `T` pieces of all replies.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from attribute_models.data import (
    Example,
    Family,
    balanced,
    families,
    read_examples,
    read_family,
    with_opener,
)
from attribute_models.heads import Heads, Push
from attribute_models.lexicon import language_of
from attribute_models.readers import Reader
from attribute_models.train import STEPS, States, train_look_ahead, train_reader, train_shift
from chatbot.backbone import Backbone
from chatbot.bot import Chatbot
from chatbot.controls import Controls
from chatbot.embedding import Embedder
from chatbot.errors import InputError
from chatbot.types import Sampling

log = logging.getLogger(__name__)

MOST_TRAIN, MOST_VALID = 6_000, 400
"""Replies of each label; a family may ask for fewer."""

MOST_READ = 2_000
MAX_PIECES = 48
FULL_SIZE, _LEAST_EFFORT = 20_000, 0.5
"""Replies from which on all steps are made; families with fewer make less, at least half."""

_SEED = 1
_BATCH = 64

PUSHES = (0.0, 0.5, 1.0, 1.5, 2.0)
FULL_READING = 0.5
"""Mean probability, over all candidates, at which a push counts as the full effect.

Enough, as the best is given. On 24 contexts at strength 1, with 0.7 before: joy 96 % instead
of 83 % at a perplexity of 1.43 instead of 1.58 times the unsteered, positive 92 % instead of 100 %
at 1.34 instead of 1.63.
"""

LEAST_GAIN = 0.25
"""By which that is above the untouched candidates'.

At 0.3 the stance `neutral` got twice the push it has now: 9 % of replies on sensitive topics took
a side, not 12 %, but talk went round in circles.
"""

MOST_PERPLEXITY = 2.5
"""Of the candidates under the untouched generator, as a multiple: no push goes beyond."""

PROBES = {
    "en": (
        "Hi! How are you today?",
        "I just moved into a new flat.",
        "What did you do last weekend?",
        "My brother is getting married in June.",
        "I have to work on Sunday again.",
        "Do you like cooking?",
        "We lost the match yesterday.",
        "Someone left a letter at my door.",
        "I'm learning to play the guitar.",
        "The train was two hours late.",
        "I saw my old teacher at the market.",
        "What should I have for dinner?",
    ),
    "ko": (
        "안녕! 오늘 어때?",
        "나 얼마 전에 이사했어.",
        "지난 주말에 뭐 했어?",
        "우리 오빠가 유월에 결혼해.",
        "일요일에 또 일해야 돼.",
        "요리하는 거 좋아해?",
        "어제 경기에서 졌어.",
        "누가 문 앞에 편지를 두고 갔어.",
        "요즘 기타를 배우고 있어.",
        "기차가 두 시간이나 늦었어.",
        "시장에서 옛날 선생님을 만났어.",
        "저녁으로 뭐 먹을까?",
    ),
}
"""Said to the generator when strengths are calibrated; on many subjects, in no mood."""


def read_file(file: Path, name: str, reference: str) -> tuple[Family, list[Example]]:
    """A family of a user's own: any JSONL of text and label."""
    examples = read_examples(file)
    labels = sorted({one.label for one in examples})
    if reference not in labels:
        raise InputError(
            f"{file} has no replies labelled {reference!r}, which the others are compared with "
            f"(its labels: {', '.join(labels)}); add some, or name another with --reference"
        )
    language = language_of(" ".join(one.text for one in examples)) or "en"
    return Family(name, language, tuple(labels), reference, {}), examples


def train_family(
    bot: Chatbot,
    embedder: Embedder,
    family: Family,
    examples: Sequence[Example],
    out: Path,
    *,
    steps: int = STEPS,
) -> Heads:
    """Trains a family, writes heads, reader and card into `out`/NAME, and calibrates strengths."""
    kept = balanced(
        examples, family.labels, train=min(family.train, MOST_TRAIN), valid=MOST_VALID, seed=_SEED
    )
    log.info("%s: %d replies", family.name, len(kept))
    folder = out / family.name
    reader = _reader(embedder, family, kept)
    reader.save(folder)
    states = states_of(bot.backbone, kept, family.labels, language=family.language)
    log.info("%s: states of %d pieces", family.name, len(states.pieces))
    ahead, ahead_report = train_look_ahead(states, len(family.labels))
    few = max(_LEAST_EFFORT, min(1.0, len(kept) / FULL_SIZE))
    shift, shift_report = train_shift(
        states, len(family.labels), bot.backbone.output_embedding().cpu(), steps=round(steps * few)
    )
    card = {
        "sources": sorted({one.source for one in kept}),
        "train": sum(not one.is_valid for one in kept),
        "valid": sum(one.is_valid for one in kept),
        "look_ahead": ahead_report,
        "shift_nats_per_piece": {name: round(value, 4) for name, value in shift_report.items()},
    }
    heads = Heads(
        {**shift, **ahead}, family=family.name, labels=family.labels, reference=family.reference,
        language=family.language, backbone=bot.backbone.identity["digest"], card=card,
    )  # fmt: skip
    heads.save(folder)
    heads.calibration = calibrate(bot, heads, reader, embedder)
    heads.save(folder)
    write_card(folder, heads, reader)
    return heads


def write_card(folder: Path, heads: Heads, reader: Reader) -> None:
    """README.md and the picture of the reader's reliability."""
    (folder / "README.md").write_text(card_text(heads, reader), encoding="utf-8")
    picture = reliability_picture(reader.card["valid"]["reliability"])
    (folder / "reliability.svg").write_text(picture, encoding="utf-8")


def reliability_picture(curve: Sequence[Sequence[float]], size: int = 240) -> str:
    """What the reader said against what was, a dot for each bin, its area the share of texts."""
    total = sum(n for _, _, n in curve)

    def at(value: float) -> float:
        return 30 + value * (size - 40)

    dots = "".join(
        f'<circle cx="{at(said):.1f}" cy="{size - at(was):.1f}" '
        f'r="{2 + 14 * math.sqrt(n / total):.1f}" fill="#2f6f9f" fill-opacity="0.7"/>'
        for said, was, n in curve
    )
    marks = "".join(
        f'<text x="{at(mark):.1f}" y="{size - 12}" text-anchor="middle">{mark:g}</text>'
        f'<text x="24" y="{size - at(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
        for mark in (0, 0.5, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" '
        f'font-family="sans-serif" font-size="11" fill="#666">'
        f'<path d="M30 {size - 30}L{size - 10} 10" stroke="#bbb" stroke-dasharray="4 3"/>'
        f'<path d="M30 10V{size - 30}H{size - 10}" stroke="#888" fill="none"/>'
        f"{marks}{dots}</svg>\n"
    )


@torch.inference_mode()
def states_of(
    backbone: Backbone, examples: Sequence[Example], labels: Sequence[str], *, language: str = "en"
) -> States:
    """What the generator's decoder holds before each piece of each reply."""
    prompts, replies = [], []
    for one in examples:
        prompts.append(backbone.prompt(with_opener(one, _SEED, language)).ids)
        replies.append(backbone.reply(one.text, most=MAX_PIECES))
    order = sorted(range(len(examples)), key=lambda at: (len(replies[at]), len(prompts[at])))
    hidden: list[torch.Tensor] = [torch.zeros(0)] * len(examples)
    for begin in range(0, len(order), _BATCH):
        rows = order[begin : begin + _BATCH]
        found = backbone.reply_states([prompts[at] for at in rows], [replies[at] for at in rows])
        for at, state in zip(rows, found, strict=True):
            hidden[at] = state.to("cpu", torch.bfloat16)
        if begin // _BATCH % 100 == 0:
            log.info("states %d/%d", begin, len(order))
    return States(
        hidden=torch.cat(hidden),
        pieces=torch.tensor([piece for reply in replies for piece in reply]),
        lengths=torch.tensor([len(reply) for reply in replies]),
        labels=torch.tensor([labels.index(one.label) for one in examples]),
        is_valid=torch.tensor([one.is_valid for one in examples]),
    )


def _reader(embedder: Embedder, family: Family, examples: Sequence[Example]) -> Reader:
    kept = balanced(examples, family.labels, train=MOST_READ, valid=MOST_VALID, seed=_SEED)
    log.info("%s: embedding %d texts", family.name, len(kept))
    vectors = embedder.encode([one.text for one in kept])
    weight, bias, report = train_reader(
        vectors,
        [family.labels.index(one.label) for one in kept],
        [one.is_valid for one in kept],
        len(family.labels),
    )
    return Reader(
        weight, bias, family=family.name, labels=family.labels,
        encoder=embedder.identity["digest"], card={"valid": report, "train": len(kept)},
    )  # fmt: skip


def calibrate(bot: Chatbot, heads: Heads, reader: Reader, embedder: Embedder) -> dict[str, Push]:
    """What pushes of each label do to replies, and which is the full one."""
    plain: list[tuple[float, float]] | None = None
    found = {}
    for at, label in enumerate(heads.labels):
        measured = []
        for push in PUSHES:
            if push == 0 and plain is not None:
                measured.append(plain[at])
                continue
            fixed = {label: Push(PUSHES, PUSHES, PUSHES, full=push)} if push else {}
            heads.calibration = fixed
            bot.steerer.use_heads([heads], {heads.family: reader})
            texts, nats = _candidates(bot, {label: 1.0} if push else {}, PROBES[heads.language])
            readings = reader.read(embedder.encode(texts)).mean(0)
            if push == 0:
                plain = [(float(one), nats) for one in readings]
            measured.append((float(readings[at]), nats))
        base = measured[0][1]
        perplexities = [math.exp(nats - base) for _, nats in measured]
        readings_ = [reading for reading, _ in measured]
        found[label] = Push(
            PUSHES,
            tuple(round(one, 4) for one in readings_),
            tuple(round(one, 3) for one in perplexities),
            full=_full(readings_, perplexities),
        )
        log.info("%s %s", label, found[label])
    return found


def _full(readings: Sequence[float], perplexities: Sequence[float]) -> float:
    """The least push with the full effect, or else the strongest that is not too dear."""
    enough = max(FULL_READING, readings[0] + LEAST_GAIN)
    for push, reading, dear in zip(PUSHES, readings, perplexities, strict=True):
        if push and reading >= enough and dear <= MOST_PERPLEXITY:
            return push
    fine = [
        push for push, dear in zip(PUSHES, perplexities, strict=True) if dear <= MOST_PERPLEXITY
    ]
    return max(fine[1:], default=PUSHES[1])


def _candidates(
    bot: Chatbot, strengths: dict[str, float], probes: Sequence[str]
) -> tuple[list[str], float]:
    """Texts of all candidates for the probes, and their nats per piece when untouched."""
    controls = Controls(strengths, spread=(1.0,))
    replies = bot.respond_many(
        [[probe] for probe in probes], controls=[controls] * len(probes),
        seeds=range(len(probes)), sampling=Sampling(candidates=8),
    )  # fmt: skip
    drawn = [one for reply in replies for one in reply.candidates]
    nats = -sum(one.log_likelihood for one in drawn) / sum(len(one.token_ids) for one in drawn)
    return [one.text or "..." for one in drawn], nats


def train_all(
    bot: Chatbot,
    embedder: Embedder,
    data: Path,
    out: Path,
    *,
    steps: int = STEPS,
    only: Sequence[str] = (),
) -> list[Heads]:
    """Every family that is trained with all, or `only` those named, from the data folder."""
    trained = []
    for family in families().values():
        if not (family.name in only if only else family.in_all):
            continue
        trained.append(
            train_family(bot, embedder, family, read_family(family, data), out, steps=steps)
        )
    return trained


def card_text(heads: Heads, reader: Reader) -> str:
    """The model card of a family, in Markdown."""
    card, valid = heads.card, reader.card["valid"]
    nats = card["shift_nats_per_piece"]
    lines = [
        f"# Heads: {heads.family}",
        "",
        f"Labels: {', '.join(heads.labels)}; relative to `{heads.reference}`. Language: "
        f"{heads.language}. Generator {heads.backbone[:12]}, text encoder {reader.encoder[:12]}; "
        "of no use with others.",
        "",
        f"Trained on {card['train']} labelled replies ({', '.join(card['sources'])}), measured on "
        f"{card['valid']} others. The labels are noisy and partly non-commercial: the weights are "
        "CC BY-NC-SA 4.0, as the generator's.",
        "",
        "| head | on valid replies |",
        "|---|---|",
        f"| look-ahead, at the end of the reply | macro-F1 {card['look_ahead']['macro_f1']:.3f}, "
        f"accuracy {card['look_ahead']['accuracy']:.3f} (n {card['look_ahead']['n']}) |",
        "| look-ahead, accuracy by quarter of the reply | "
        + ", ".join(f"{one:.3f}" for one in card["look_ahead"]["accuracy_by_quarter"])
        + " |",
        f"| shift, nats per piece | untouched {nats['untouched']:.3f}, with the right label "
        f"{nats['right']:.3f}, with a wrong one {nats['wrong']:.3f} |",
        f"| reader, on sentence embeddings | macro-F1 {valid['macro_f1']:.3f}, accuracy "
        f"{valid['accuracy']:.3f}, calibration error {valid['calibration_error']:.3f} "
        f"(n {valid['n']}) |",
        "",
        "F1 by label, look-ahead at the end / reader: "
        + ", ".join(
            f"{label} {a:.2f} / {b:.2f}"
            for label, a, b in zip(heads.labels, card["look_ahead"]["f1"], valid["f1"], strict=True)
        )
        + ".",
        "",
        "![reliability of the reader](reliability.svg)",
        "",
        "Reliability of the reader (said, was, n): "
        + "; ".join(f"{said:.2f} {was:.2f} {n}" for said, was, n in valid["reliability"])
        + ".",
        "",
        "What strengths do, measured on 8 candidates for each of "
        f"{len(PROBES[heads.language])} openers: the label's mean probability by the reader, and "
        "the candidates' perplexity under the untouched generator as a multiple of unsteered.",
        "",
        "| label | full push | " + " | ".join(f"push {one:g}" for one in PUSHES) + " |",
        "|---" * (len(PUSHES) + 2) + "|",
    ]
    for label, push in heads.calibration.items():
        cells = (
            f"{reading:.2f} (x{dear:.2f})"
            for reading, dear in zip(push.readings, push.perplexities, strict=True)
        )
        lines.append(f"| {label} | {push.full:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
