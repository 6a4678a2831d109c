"""What control costs: SSA of the shipped bot in several arms on the same contexts and seeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from chatbot.bot import Chatbot
from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import Ranking, Sampling
from eval.jsonl import Json
from eval.ssa.bots import ModelBot, Settings
from eval.ssa.compare import Comparison, compare
from eval.ssa.results import System, read_system
from eval.ssa.runs import CONTEXTS, run_static
from eval.ssa.scoring import ScorerLike
from eval.stats import RESAMPLES, Clusters, cluster_bootstrap

EMOTIONS = ("joy", "surprise", "anger", "sadness", "fear", "disgust")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to run the bot.

    Attributes:
        name: also that of its file.
        has_ethics: with the ethics filter that the bot has.
    """

    name: str
    settings: Settings = field(default_factory=Settings)
    has_ethics: bool = True


PLAIN = Arm("plain")
"""What the other arms are compared with."""

ARMS: tuple[Arm, ...] = (
    PLAIN,
    Arm("no-ethics", has_ethics=False),
    Arm("likelihood-alone", Settings(ranking=Ranking(coherence=0))),
    Arm("one-candidate", Settings(sampling=Sampling(candidates=1))),
    *(
        Arm(f"{emotion}-{strength:g}", Settings(controls=Controls({emotion: strength})))
        for emotion in EMOTIONS
        for strength in (0.5, 1.0)
    ),
)

Watch = Callable[[str], Callable[[Iterator[Json], int], Iterable[Json]]]


def run_arms(
    bot: Chatbot,
    scorer: ScorerLike,
    folder: str | Path,
    arms: Sequence[Arm] = ARMS,
    *,
    contexts: str | Path = CONTEXTS,
    limit: int | None = None,
    seed: int = 0,
    watch: Watch = lambda name: lambda records, _: records,
) -> list[System]:
    """Runs every arm into `folder`/NAME.jsonl; goes on with what is there.

    Args:
        watch: given an arm's name, what passes on its records.

    Raises:
        InputError: the folder holds runs of other settings, two arms have one name, or an arm
            leaves out an ethics filter that the bot has not.
    """
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise InputError(f"two arms have the same name: {', '.join(names)}")
    bots = {True: bot, False: without_ethics(bot)}
    for arm in arms:
        if not arm.has_ethics and bot.ethics is None:
            raise InputError(f"the bot has no ethics filter; leave the arm {arm.name} out")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    systems = []
    for arm in arms:
        path = folder / f"{arm.name}.jsonl"
        run_static(
            ModelBot(bots[arm.has_ethics], arm.settings, name=arm.name), scorer, path,
            contexts=contexts, limit=limit, seed=seed, watch=watch(arm.name),
        )  # fmt: skip
        systems.append(read_system(path))
    return systems


def without_ethics(bot: Chatbot) -> Chatbot:
    """The same bot without its filter; `bot` keeps it, and they share the weights."""
    other = copy(bot)
    other.ethics = None
    return other


def pick_arms(names: Sequence[str]) -> list[Arm]:
    """The arms of these names, `plain` first; all of them for none.

    Raises:
        InputError: there is no arm of a name.
    """
    known = {arm.name: arm for arm in ARMS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no arm is called {unknown[0]!r}; there are {', '.join(known)}")
    wanted = set(names or known) | {PLAIN.name}
    return [arm for arm in ARMS if arm.name in wanted]


def table(
    systems: Sequence[System], *, command: str = "", seed: int = 0, resamples: int = RESAMPLES
) -> str:
    """The arms' scores and their differences from the first one, as Markdown."""
    plain = systems[0]
    lines = [*_head(systems, command, seed, resamples), ""]
    against_plain = f"SSA - {plain.name} | detectable | better / worse"
    lines += [f"| arm | n | sensible | specific | SSA | {against_plain} |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for system in systems:
        scores = [_told(system, metric, seed, resamples) for metric in ("sensible", "specific")]
        scores.append(_told(system, "ssa", seed, resamples))
        against = ["", "", ""]
        if system is not plain:
            against = _against(compare(plain, system, seed=seed, resamples=resamples))
        cells = [system.name, str(len(system.responses)), *scores, *against]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _head(systems: Sequence[System], command: str, seed: int, resamples: int) -> list[str]:
    made = systems[0].made
    contexts, model = made["contexts"], made["bot"]["model"]
    scorer = systems[0].scorer
    return [
        "# What control costs in sense",
        "",
        f"Automatic SSA of the model `{model['name']}` (digest `{model['digest'][:16]}`) on "
        f"`{contexts['file']}` (sha256 `{contexts['sha256'][:16]}`), every arm with "
        "the same seeds.",
        f"Scorer `{scorer['name']}`, digest `{str(scorer['digest'])[:16]}`. Brackets: 95 %, by "
        f"drawing contexts {resamples} times, seed {seed}; differences are paired by context. "
        "`detectable` is the least true difference found 4 times in 5.",
        "These are the scorer's means, no human judgements: they tell arms apart, and are not on "
        "the scale of published SSA.",
        "",
        f"Made by `{command}`.",
    ]


def _told(system: System, metric: str, seed: int, resamples: int) -> str:
    clusters = Clusters.of(system.values(metric), system.conversations())
    interval = cluster_bootstrap(clusters, seed=seed, resamples=resamples)
    return f"{clusters.mean:.3f} {interval or ''}".strip()


def _against(found: Comparison) -> list[str]:
    ssa = next(one for one in found.differences if one.metric == "ssa")
    return [
        f"{ssa.value:+.3f} {ssa.interval or ''}".strip(),
        f"{ssa.detectable:.3f}",
        f"{ssa.b_better} / {ssa.b_worse}",
    ]
