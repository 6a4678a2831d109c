"""Tries a generator out from end to end, and says what works: `chatbot doctor`.

Each check stands by itself: one that fails does not keep the others from running. Knows what a
working bot does; how it does it is known elsewhere.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from chatbot.controls import Controls, Mode
from chatbot.errors import ChatbotError
from chatbot.types import Reply, Sampling

if TYPE_CHECKING:
    from chatbot.backbone import Backbone
    from chatbot.bot import Chatbot

TURNS = ("Hello! How are you today?",)
FEW = Sampling(candidates=4, max_new_tokens=12)
USUAL = Sampling()
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        is_fine: None where it only tells something.
    """

    name: str
    is_fine: bool | None
    told: str


def examine(load: "Callable[[], Backbone]") -> Iterator[Check]:
    """The checks of a generator, one after another; the last ones take seconds.

    Args:
        load: gives the generator, or raises what loading it raises.
    """
    begin = time.perf_counter()
    try:
        backbone = load()
    except ChatbotError as error:
        yield Check("loads", False, str(error))
        return
    yield Check("loads", True, _described(backbone, time.perf_counter() - begin))
    from chatbot.bot import Chatbot

    bot = Chatbot(backbone)
    for name, check in _CHECKS.items():
        try:
            yield from check(bot)
        except Exception as error:  # a model of a family not known here may raise anything
            yield Check(name, False, f"{type(error).__name__}: {error}".partition("\n")[0])


def _described(backbone: "Backbone", seconds: float) -> str:
    model = backbone.model
    dtypes = {str(one.dtype).removeprefix("torch.") for one in model.parameters()}
    return (
        f"{backbone.identity['name']}, a {model.config.model_type} of "
        f"{model.num_parameters() / 1e6:.1f} million weights, {' and '.join(sorted(dtypes))}, "
        f"{model.get_memory_footprint() / 1e6:.0f} MB on {backbone.device}, "
        f"digest {backbone.identity['digest'][:12]}, in {seconds:.1f} s"
    )


def _prompt(bot: "Chatbot") -> Iterator[Check]:
    backbone = bot.backbone
    ids = backbone.prompt(TURNS).ids
    written = backbone.tokenizer.decode(list(ids))
    yield Check(
        "prompt", None,
        f"format {backbone.prompt_format}, at most {backbone.max_context} pieces: {written!r}",
    )  # fmt: skip


def _parts(bot: "Chatbot") -> Iterator[Check]:
    from chatbot.backbones.selftest import disagreements

    wrong = disagreements(bot.backbone)
    told = "; ".join(wrong) or "hidden states, last blocks and logits are those of transformers"
    yield Check("parts", not wrong, told)


def _generates(bot: "Chatbot") -> Iterator[Check]:
    reply = bot.respond(TURNS, seed=1, sampling=FEW)
    yield Check("generates", any(one.text for one in reply.candidates), repr(reply.text))
    zero = bot.respond(TURNS, seed=1, sampling=FEW, controls={"joy": 0.0})
    same = _ids(zero) == _ids(reply)
    told = "changes nothing" if same else "changes the reply, which it must not"
    yield Check("strength 0", same, told)


def _steers(bot: "Chatbot") -> Iterator[Check]:
    begin = time.perf_counter()
    bot.steerer.bound("joy", "en")
    yield Check("binds joy", None, f"in {time.perf_counter() - begin:.1f} s, once")
    for mode in get_args(Mode):
        controls = Controls({"joy": 1.0}, mode=mode)
        reply = bot.respond(TURNS, seed=1, sampling=FEW, controls=controls)
        steering = reply.trace.steering
        tokens = steering.tokens if steering is not None else ()
        steered = [token for token in tokens if token.kl > 0 and token.after]
        nearer = [
            token for token in steered if sum(token.after.values()) > sum(token.before.values())
        ]
        yield Check(
            f"steers, {mode}", 2 * len(nearer) > len(steered),
            f"joy nearer at {len(nearer)} of the {len(steered)} pieces that were steered, of "
            f"{len(tokens)}: {reply.text!r}",
        )  # fmt: skip


def _covers(bot: "Chatbot") -> Iterator[Check]:
    found = []
    for name in ("joy", "anger", "game"):
        for language in ("en", "ko"):
            if bound := bot.steerer.bound(name, language):
                covered = bound.bag.coverage()
                single = sum(len(one.pieces) == 1 for one in covered)
                found.append(f"{name} {language} {len(covered)} ({single} as one piece)")
    yield Check("words", bool(found), ", ".join(found))


def _heads(bot: "Chatbot") -> Iterator[Check]:
    steerer = bot.steerer
    if steerer.heads:
        yield Check("heads", None, ", ".join(sorted(one.family for one in steerer.heads)))
        return
    yield Check("heads", None, f"none for this model; train them with `{steerer.train_command}`")


def _filters(bot: "Chatbot") -> Iterator[Check]:
    from chatbot.ethics import EthicsFilter

    embedder = bot.steerer.embedder
    vectors = embedder.encode(["It is raining."])
    yield Check("embeds", True, f"{embedder.identity['name']}, {vectors.shape[1]} dimensions")
    (verdict,) = EthicsFilter.load(embedder=embedder).assess(TURNS, ["I am fine, thanks."])
    yield Check("ethics filter", verdict.accepted, f"risk of a harmless reply {verdict.risk:.2f}")


def _speed(bot: "Chatbot") -> Iterator[Check]:
    plain = _median_s(bot, Controls())
    steered = _median_s(bot, Controls({"joy": 1.0}))
    yield Check(
        "speed", None,
        f"{plain:.2f} s a reply of {USUAL.candidates} candidates, {steered:.2f} s steered "
        f"(x{steered / plain:.2f}; medians of {_REPEATS}, unguarded)",
    )  # fmt: skip


def _median_s(bot: "Chatbot", controls: Controls) -> float:
    def timed(seed: int) -> float:
        reply = bot.respond(TURNS, seed=seed, controls=controls, sampling=USUAL)
        return reply.timings["decoding"] / max(1, reply.trace.steps) * USUAL.max_new_tokens

    return statistics.median(timed(seed) for seed in range(1, 1 + _REPEATS))


def _ids(reply: Reply) -> dict[int, tuple[int, ...]]:
    return {one.row: one.token_ids for one in reply.candidates}


_CHECKS: "dict[str, Callable[[Chatbot], Iterator[Check]]]" = {
    "prompt": _prompt,
    "parts": _parts,
    "generates": _generates,
    "steers": _steers,
    "words": _covers,
    "heads": _heads,
    "filter": _filters,
    "speed": _speed,
}
