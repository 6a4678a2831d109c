"""Steering while a reply is drawn: from the strengths that are asked to a shift of the logits.

What is controlled is the reply, not the piece: a strength buys a budget of words of the attribute
over the whole reply, and nothing more is done once they have come.

- *Budget.* By itself the generator brings c words into a reply. Strength s asks for
  c + s * (FULL_WORDS - c) of them, so that 0.5 joy and 0.5 anger mean the same number of words
  although joyful words are ten times as common.
- *Rate.* What is missing of the budget, divided by the pieces that are expected to come, is the
  rate at which words are needed now. The attribute's rate curve gives the price (log-odds) that
  buys this rate on average; where a word fits, the same price buys more of it than where none
  does. The rate rises while no word comes and the price falls to zero when the budget is met: the
  gate closes and the generator is left alone.
- *End.* Ending the reply gives up what is missing. If m words are missing and come as a Poisson
  process, the reply ends without any with chance exp(-m); the chain conditioned on the words
  coming (Doob's h-transform) therefore ends with exp(-m) of the odds: the end piece loses m.
- *Tilt.* The prices become masses, and all attributes' masses are reached together with the least
  KL divergence (`attribute_models.tilt`), so that joy, surprise and a topic are budgets that add
  up rather than forces that fight. Then the tilt is shrunk where a piece would cost more than
  `kl_limit`. Fusion, the geometric mean p'^g * p^(1-g) with the clean distribution p, is p tilted
  by g times the prices, so it costs nothing.

A negative strength lowers the odds of every word, always.

The mode is called `hidden` because the tilt is a shift of the final hidden state h: with output
embedding W and the words' features phi, softmax(W h + phi x) is softmax([W phi] [h; x]), a step
along coordinates that W does not have. A step inside W's own coordinates, W'(q - p) times
a size (`AttributeModel.gradient`), would also move pieces that merely lie near; for a bag it
reaches the same mass only at a higher KL divergence, as the tilt is the minimum over all
distributions of that mass. Pieces that lie near and should count are the bag's soft members.

Shapes: `B` rows, `S` pieces of all bags together, `A` bags, `V` pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attribute_models.lexicon import language_of
from attribute_models.tilt import Field, Tilted, alone, limit, solve, tilt, together
from attribute_models.trie import Place
from chatbot.backbone import Backbone
from chatbot.binding import LEAST_ODDS, Bound, Steerer
from chatbot.controls import Controls
from chatbot.types import AttributeTrace, SteeringTrace, TokenTrace

MOST_MASS = 0.9
"""Share of the probability that all attributes together may ask for."""

_MISS = 0.01
"""Mass by which a target counts as missed; half of it is as near as is tried for."""

_CLOSED = TokenTrace({}, {}, {}, 0.0)


@dataclass(slots=True)
class _Plan:
    """What is asked of one conversation's candidates.

    Attributes:
        strengths: of the attributes asked for, by name, none of them 0.
        columns: of these attributes among the bags of the batch.
        without_words: attributes that have no list in the conversation's language.
    """

    controls: Controls
    strengths: dict[str, float]
    columns: dict[str, int] = field(default_factory=dict)
    without_words: tuple[str, ...] = ()


@dataclass(slots=True)
class _Goal:
    """What one candidate is asked for of one attribute.

    Attributes:
        column: of the bag among those of the batch.
        strength: the candidate's own share of what is asked.
        wanted: words, for a strength above 0.
        place: where the candidate stands among the words.
        missed: pieces at which its mass was out of reach beside the other attributes.
    """

    bound: Bound
    column: int
    strength: float
    wanted: float
    place: Place
    missed: int = 0

    def price(self, drawn: int) -> tuple[float, float]:
        """The price after so many pieces, and the words that are missing."""
        if self.strength < 0:
            return math.log(max(LEAST_ODDS, 1 + self.strength)), 0.0
        bound = self.bound
        missing = self.wanted - max(self.place.so_far, bound.clean_words)
        if missing <= 0:
            return 0.0, 0.0
        left = bound.remaining[min(drawn, len(bound.remaining) - 1)]
        return bound.curve.price(bound.curve.clean + missing / left), missing


@dataclass(slots=True)
class _Row:
    """One candidate while it is drawn."""

    plan: _Plan
    share: float
    goals: dict[str, _Goal]
    tokens: list[TokenTrace] = field(default_factory=list)
    drawn: int = 0
    is_done: bool = False
    fallbacks: int = 0

    def prices(self, n_bags: int) -> tuple[list[float], float]:
        """The price of every bag of the batch, 0 where nothing is asked, and all words missing."""
        prices, missing = [0.0] * n_bags, 0.0
        for goal in self.goals.values():
            prices[goal.column], lacking = goal.price(self.drawn)
            missing += lacking
        return prices, missing


def start_steering(
    steerer: Steerer,
    controls: Sequence[Controls],
    conversations: Sequence[Sequence[str]],
    *,
    candidates: int,
    temperature: float,
) -> "Steering | None":
    """The steering of a batch; None where nothing is asked of any conversation."""
    plans: list[_Plan] = []
    bags: dict[int, Bound] = {}
    for asked, turns in zip(controls, conversations, strict=True):
        strengths = asked.at((len(turns) + 1) // 2)
        steerer.check(strengths)
        wanted = {name: strength for name, strength in strengths.items() if strength}
        language = _language(turns)
        bound = {name: steerer.bound(name, language) for name in wanted}
        there = {name: one for name, one in bound.items() if one is not None}
        missing = tuple(name for name, one in bound.items() if one is None)
        plan = _Plan(asked, {name: wanted[name] for name in there}, without_words=missing)
        for name, one in there.items():
            bags.setdefault(id(one), one)
            plan.columns[name] = list(bags).index(id(one))
        plans.append(plan)
    if not any(plan.strengths or plan.without_words for plan in plans):
        return None
    return Steering(
        steerer.backbone, plans, list(bags.values()),
        candidates=candidates, temperature=temperature,
    )  # fmt: skip


class Steering:
    """The steering of one batch; lives as long as its candidates are drawn.

    `shift` changes the logits of a step, `read` takes what was drawn from them.
    """

    def __init__(
        self,
        backbone: Backbone,
        plans: Sequence[_Plan],
        bags: Sequence[Bound],
        *,
        candidates: int,
        temperature: float,
    ):
        self._bags = bags
        self._temperature = temperature or 1.0  # greedy: the argmax of the tilted distribution
        self._eos = backbone.special.eos
        device = backbone.device
        end = torch.tensor([self._eos], device=device)
        self._support = torch.cat([*(one.bag.support for one in bags), end]).unique()
        self._columns = [
            torch.searchsorted(self._support, one.bag.support).tolist() for one in bags
        ]
        self._begin = torch.zeros(2, 2, len(bags), len(self._support), device=device)
        for column, one in enumerate(bags):
            self._begin[:, :, column, self._columns[column]] = one.bag.begin
        # Columns that can matter outside words: row 0 where no word may begin without a space.
        is_end = self._support == self._eos
        spaced, bare = self._begin[:, 0].any(1)
        self._starts = (spaced | is_end, spaced | bare | is_end)
        self._groups = [
            [self._row(plan, candidate) for candidate in range(candidates)] for plan in plans
        ]
        self._rows = [row for group in self._groups for row in group]

    def _row(self, plan: _Plan, candidate: int) -> _Row:
        spread = plan.controls.spread
        share = spread[candidate % len(spread)]
        goals = {}
        for name, column in plan.columns.items():
            bound, strength = self._bags[column], plan.strengths[name] * share
            goals[name] = _Goal(bound, column, strength, bound.wanted(strength), Place())
        return _Row(plan, share, goals)

    # -- one step of the decoder

    def shift(self, logits: Tensor) -> None:
        """Steers the logits (B, V) of the next piece, in place.

        A row of which nothing is asked now, or whose logits are not finite, is left as it is.
        """
        steered = []
        for at, row in enumerate(self._rows):
            if not row.is_done:
                row.tokens.append(_CLOSED)
                prices, missing = row.prices(len(self._bags))
                if any(prices):
                    steered.append((at, row, prices, missing))
        if not steered:
            return
        numbers, rows, asked, lacking = (list(part) for part in zip(*steered, strict=True))
        index = torch.tensor(numbers, device=logits.device)
        price = torch.tensor(asked, device=logits.device)  # (B, A)
        words = torch.tensor(lacking, device=logits.device)  # (B,) missing

        support, before, field_ = self._field(logits[index], rows, words)
        price, after = self._solve(field_, price, before, rows)
        fusion = price.new_tensor([row.plan.controls.fusion for row in rows])
        if bool((fusion < 1).any()):
            price, field_.offset = price * fusion[:, None], field_.offset * fusion[:, None]
            after = tilt(field_, price)
        most = price.new_tensor([row.plan.controls.kl_limit for row in rows])
        scale, after = limit(field_, price, after, most)

        fine = after.kl.isfinite() & after.shift.isfinite().all(1)
        change = self._temperature * after.shift.masked_fill(~fine[:, None], 0.0)
        logits[index[:, None], support] += change
        self._note(rows, before, after, price * scale[:, None], fine)

    def read(self, ids: Sequence[int]) -> None:
        """Takes the pieces that were drawn, one for each row."""
        for row, piece in zip(self._rows, ids, strict=True):
            if not row.is_done:
                row.drawn += 1
                row.is_done = piece == self._eos
                for goal in row.goals.values():
                    goal.place = goal.bound.bag.trie.advance(goal.place, piece)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Goes on with `rows` only, as the decoder does."""
        self._rows = [self._rows[row] for row in rows]

    def _field(
        self, logits: Tensor, rows: list[_Row], missing: Tensor
    ) -> tuple[Tensor, Tensor, Field]:
        """The pieces that a tilt can raise now, masses (B, A) before it, and what it works on."""
        ways = [
            (at, goal.column, self._columns[goal.column][way], chance, weight)
            for at, row in enumerate(rows)
            for goal in row.goals.values()
            for way, chance, weight in goal.bound.bag.ways(goal.place)
        ]
        free = [next(iter(row.goals.values())).place.is_free for row in rows]
        used = self._starts[int(any(free))].clone()
        used[[column for _, _, column, _, _ in ways]] = True
        kept = used.nonzero().squeeze(1)
        features = self._begin[:, :, :, kept][torch.tensor(free, device=used.device).long()]
        if ways:
            numbers, bags, columns, chances, weights = zip(*ways, strict=True)
            at = (used.cumsum(0) - 1)[list(columns)]
            inside = torch.tensor([chances, weights], device=used.device)
            features[list(numbers), :, list(bags), at] = inside.T
        chance, weight = features[:, 0], features[:, 1]  # (B, A, S)
        scaled = logits / self._temperature
        log_p = scaled[:, self._support[kept]] - scaled.logsumexp(1, keepdim=True)
        before = ((chance * weight) @ log_p.exp()[:, :, None]).squeeze(2)
        is_end = self._support[kept] == self._eos
        offset = -missing[:, None] * is_end
        return self._support[kept], before, Field(log_p, chance, weight, offset)

    def _solve(
        self, field_: Field, price: Tensor, before: Tensor, rows: list[_Row]
    ) -> tuple[Tensor, Tilted]:
        """The prices (B, A) at which each bag has the mass that its own price alone would buy."""
        active = price != 0
        if not bool((active.sum(1) > 1).any()):
            return price, tilt(field_, price)
        bought = alone(field_, price)
        total = (bought * active).sum(1, keepdim=True)
        wanted = bought * (MOST_MASS / total.clamp_min(MOST_MASS))
        guess = together(price, before, wanted, active)
        solved, after = solve(field_, wanted, guess, active, tolerance=_MISS / 2)
        missed = active & (((after.mass - wanted).abs() > _MISS) | (wanted < bought))
        for row, is_missed in zip(rows, missed.tolist(), strict=True):
            for goal in row.goals.values():
                goal.missed += is_missed[goal.column]
        return solved, after

    def _note(
        self, rows: list[_Row], before: Tensor, after: Tilted, price: Tensor, fine: Tensor
    ) -> None:
        """Writes what was done into the rows' traces."""
        numbers = torch.cat([before, after.mass, price, after.kl[:, None]], dim=1).tolist()
        n_bags = len(self._bags)
        for row, values, is_fine in zip(rows, numbers, fine.tolist(), strict=True):
            if not is_fine:
                row.fallbacks += 1
                continue
            columns = {name: goal.column for name, goal in row.goals.items()}
            row.tokens[-1] = TokenTrace(
                before={name: values[at] for name, at in columns.items()},
                after={name: values[n_bags + at] for name, at in columns.items()},
                price={name: values[2 * n_bags + at] for name, at in columns.items()},
                kl=values[-1],
            )

    # -- what came of it

    def share(self, group: int, candidate: int) -> float | None:
        """The candidate's own share of the strengths; None where nothing was asked."""
        row = self._groups[group][candidate]
        return row.share if row.plan.strengths else None

    def fit(self, group: int, candidate: int) -> float | None:
        """How far the candidate shows what was asked, from 0 to 1, weighted by the strengths."""
        row = self._groups[group][candidate]
        strengths = row.plan.strengths
        if not strengths:
            return None
        met = sum(
            abs(strength) * _met(strength, row.goals[name].place.so_far)
            for name, strength in strengths.items()
        )
        return met / max(1.0, sum(map(abs, strengths.values())))

    def trace(self, group: int, candidate: int) -> SteeringTrace | None:
        """What was done to a candidate; None where nothing was asked."""
        row = self._groups[group][candidate]
        if not row.plan.strengths:
            return None
        attributes = {}
        for name, strength in row.plan.strengths.items():
            goal = row.goals[name]
            bound, place = goal.bound, goal.place
            attributes[name] = AttributeTrace(
                strength=strength,
                language=bound.bag.spec.language,
                digest=bound.bag.spec.digest,
                wanted=bound.wanted(strength),
                realised=place.so_far,
                words=place.words_so_far,
                missed=goal.missed,
            )
        return SteeringTrace("hidden", row.share, attributes, tuple(row.tokens))

    def notes(self, group: int, candidate: int) -> tuple[str, ...]:
        """What the reader of the reply should know about a candidate's steering, in words."""
        row = self._groups[group][candidate]
        notes = [
            f"{name} has no words in the language of this conversation; it was not steered."
            for name in row.plan.without_words
        ]
        if row.fallbacks:
            notes.append(f"{row.fallbacks} pieces were not steered: their logits were not finite.")
        notes += [
            f"{name} had no effect: {why}."
            for name in row.plan.strengths
            if (why := self._why_no_effect(row, name))
        ]
        return tuple(notes)

    def _why_no_effect(self, row: _Row, name: str) -> str:
        if row.plan.strengths[name] > 0:
            if row.goals[name].place.so_far:
                return ""
            missed = row.goals[name].missed
            return "the others left it no room" if missed else "none of its words came"
        lowered = sum(t.before.get(name, 0) - t.after.get(name, 0) for t in row.tokens)
        return "" if lowered > _MISS else "none of its words was near"


def _met(strength: float, realised: float) -> float:
    """How far an attribute shows, from 0 to 1.

    One word is enough: among replies that have one, the most fluent is wanted. Asking the ranking
    for the second word of strength 1 as well cost half as much perplexity again.
    """
    return min(1.0, realised) if strength > 0 else 1 / (1 + realised)


def _language(turns: Sequence[str]) -> str:
    """The language of the newest turn that has letters; English if none has."""
    return next((found for turn in reversed(turns) if (found := language_of(turn))), "en")
