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
- *Hand.* Tilts and pushes flatten the distribution; rows with a strength above 0 are drawn at a
  temperature up to `SHARPENING` lower. On 24 contexts at strength 1, words of the list in every
  reply, the perplexity of the replies was 2.1 instead of 2.8 times the unsteered (game), 1.9
  instead of 2.6 (food).
- *Tilt.* The prices become masses, and all attributes' masses are reached together with the least
  KL divergence (`attribute_models.tilt`), so that joy, surprise and a topic are budgets that add
  up rather than forces that fight. Then the tilt is shrunk where a piece would cost more than
  `kl_limit`. Fusion, the geometric mean p'^g * p^(1-g) with the clean distribution p, is p tilted
  by g times the prices, so it costs nothing.

A negative strength lowers the odds of every word, always.

Attributes with a learned head (`attribute_models.heads`) are pushed towards it at every piece as
well (`chatbot.pushing`) and ask for fewer words; what came is then read from the finished text
(`attribute_models.readers`) and not counted by words. `neutral` is two-sided: the push goes to the
reference label of every family, and opinionated words are lowered.

The mode is called `hidden` because both are steps of the final hidden state h. A push is one in
W's own coordinates, W being the output embedding. The tilt is one along coordinates that W does
not have: with the words' features phi, softmax(W h + phi x) is softmax([W phi] [h; x]). For a bag
a step inside W, W'(q - p) times a size (`AttributeModel.gradient`), would also move pieces that
merely lie near, and reaches the same mass only at a higher KL divergence, as the tilt is the
minimum over all distributions of that mass. Pieces that lie near and should count are the bag's
soft members.

Shapes: `B` rows, `S` pieces of all bags together, `A` bags, `V` pieces.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attribute_models.base import AttributeModel
from attribute_models.lexicon import language_of
from attribute_models.tilt import Field, Tilted, alone, limit, solve, tilt, together
from attribute_models.trie import Place
from chatbot.backbone import Backbone
from chatbot.binding import (
    DAMPED_BY_NEUTRAL,
    FULL_WORDS,
    LEAST_ODDS,
    NEUTRAL,
    WORDS_AMONG_PUSHES,
    WORDS_BESIDE_HEAD,
    WORDS_BESIDE_LISTS,
    Bound,
    Steerer,
)
from chatbot.controls import Controls
from chatbot.pushing import Pushes, Step
from chatbot.types import AttributeTrace, SteeringTrace, TokenTrace

if TYPE_CHECKING:
    from chatbot.perturbation import Moved

MOST_MASS = 0.9
"""Share of the probability that all attributes together may ask for."""

SHARPENING = 0.2
"""By how much of itself the temperature is lower at strength 1."""

_MISS = 0.01
"""Mass by which a target counts as missed; half of it is as near as is tried for."""

_FAINT = 0.1
"""A reading below this is as good as none."""

_CLOSED = TokenTrace()


@dataclass(frozen=True, slots=True)
class Pull:
    """What one attribute is asked of the rows of the batch, for the modes that follow gradients.

    Attributes:
        weight: (B,) strength; 0 for rows that do not ask, negative for away from it.
        wanted: (B,) probability of showing it, `AttributeModel.score`'s second argument.
    """

    model: AttributeModel
    weight: Tensor
    wanted: Tensor


@dataclass(slots=True)
class _Plan:
    """What is asked of one conversation's candidates.

    Attributes:
        strengths: of the attributes asked for, by name, none of them 0.
        columns: of these attributes among the bags of the batch.
        families: numbers of the families with a head for each of them.
        unknown: attributes that have neither words nor a head in the conversation's language.
    """

    controls: Controls
    strengths: dict[str, float]
    columns: dict[str, int] = field(default_factory=dict)
    families: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def full_words(self, name: str) -> float:
        """How many words of an attribute strength 1 asks for."""
        wanted = self.wanted(self.strengths)
        is_mixed = bool(wanted & self.families.keys()) and bool(wanted - self.families.keys())
        if name in self.families:
            return WORDS_BESIDE_LISTS if is_mixed else WORDS_BESIDE_HEAD
        return WORDS_AMONG_PUSHES if is_mixed else FULL_WORDS

    def beside(self, name: str, family: int) -> int:
        """Labels of a family that are wanted together, by which the push towards each is divided.

        They are mostly the same way from the reference: half of joy and half of surprise, not both
        in full.
        """
        asked = [one for one, numbers in self.families.items() if family in numbers]
        together = self.wanted(asked)
        return len(together) if name in together else 1

    def wanted(self, names: Iterable[str]) -> set[str]:
        """Those of the attributes that are asked for, not away from."""
        return {name for name in names if self.strengths[name] > 0}


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

    @property
    def is_met(self) -> bool:
        """Whether as many words have come as are wanted."""
        return self.strength > 0 and self.place.so_far >= self.wanted

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
    pieces: list[int] = field(default_factory=list)
    readings: dict[str, float] = field(default_factory=dict)
    is_done: bool = False
    fallbacks: int = 0

    @property
    def heat(self) -> float:
        """Share of the temperature that the row is drawn at: the less, the more is asked."""
        asked = max(self.plan.strengths.values(), default=0.0) * self.share
        return 1 - self.plan.controls.fusion * SHARPENING * min(1.0, max(0.0, asked))

    def weight(self, name: str) -> float:
        """What an attribute counts for in the fit.

        A small strength of what can be read asks for a small reading, and asks for it firmly; of
        words it asks for a word now and then.
        """
        strength = abs(self.plan.strengths[name])
        return math.sqrt(strength) if name in self.readings else strength

    def met(self, name: str) -> float:
        """How far the reply shows an attribute, from 0 to 1: as read, or by its words."""
        strength = self.plan.strengths[name]
        if name in self.readings:
            reading = self.readings[name]
            return min(1.0, reading / strength) if strength > 0 else 1 - reading
        return _met(strength, self.goals[name].place.so_far) if name in self.goals else 0.0

    def why_no_effect(self, name: str) -> str:
        """In words; empty where there was one."""
        strength, goal = self.plan.strengths[name], self.goals.get(name)
        if name in self.plan.families:
            weak = strength > 0 and self.readings.get(name, 1.0) < _FAINT
            came = goal is not None and goal.place.so_far > 0
            return "it can hardly be read in the reply" if weak and not came else ""
        if goal is None:
            return ""
        if strength > 0:
            if goal.place.so_far:
                return ""
            return "the others left it no room" if goal.missed else "none of its words came"
        lowered = sum(t.before.get(name, 0) - t.after.get(name, 0) for t in self.tokens)
        return "" if lowered > _MISS else "none of its words was near"

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
        language = _language(turns)
        plan = _plan(steerer, asked, strengths_of(steerer, asked, turns, language), language)
        for name in plan.strengths:
            one = steerer.bound(name, language)
            if one is not None:
                bags.setdefault(id(one), one)
                plan.columns[name] = list(bags).index(id(one))
        plans.append(plan)
    if not any(plan.strengths or plan.unknown for plan in plans):
        return None
    return Steering(
        steerer, plans, list(bags.values()), candidates=candidates, temperature=temperature
    )


def strengths_of(
    steerer: Steerer, controls: Controls, turns: Sequence[str], language: str
) -> dict[str, float]:
    """What is asked of the answer to a conversation, corrected by what the last reply showed.

    The correction is a proportional step: a reply that showed 0.2 of anger where 0.5 was asked
    raises the next turn's strength by `feedback` times 0.3. It reads the text of that turn, so a
    conversation can be gone on with, replayed or edited anywhere.

    Raises:
        UnknownAttributeError: there is no such attribute.
    """
    turn, said = (len(turns) + 1) // 2, turns[::-2][::-1]
    strengths = controls.at(turn, said)
    steerer.check(strengths)
    if not controls.feedback or len(turns) < 2:
        return strengths
    before = controls.at(turn - 1, said[:-1])
    for name, strength in strengths.items():
        shown = steerer.shown(name, turns[-2], language) if strength > 0 else None
        if shown is not None:
            error = max(0.0, before.get(name, 0.0)) - shown
            strengths[name] = min(1.0, max(0.0, strength + controls.feedback * error))
    return strengths


def _plan(
    steerer: Steerer, controls: Controls, strengths: Mapping[str, float], language: str
) -> _Plan:
    """What can be steered of what is asked, its bags not yet found."""
    wanted = {name: strength for name, strength in strengths.items() if strength}
    for name in DAMPED_BY_NEUTRAL if wanted.get(NEUTRAL, 0) > 0 else ():
        wanted.setdefault(name, -wanted[NEUTRAL])
    families = {name: steerer.learned(name, language) for name in wanted}
    has_words = {name: steerer.bound(name, language) is not None for name in wanted}
    unknown = [name for name in wanted if not families[name] and not has_words[name]]
    if NEUTRAL in unknown and any(has_words[name] for name in DAMPED_BY_NEUTRAL if name in wanted):
        unknown.remove(NEUTRAL)  # without a head it still keeps opinions out
    return _Plan(
        controls,
        {name: strength for name, strength in wanted.items() if name not in unknown},
        families={name: found for name, found in families.items() if found},
        unknown=tuple(unknown),
    )


class Steering:
    """The steering of one batch; lives as long as its candidates are drawn.

    `shift` changes the logits of a step, `read` takes what was drawn from them.
    """

    def __init__(
        self,
        steerer: Steerer,
        plans: Sequence[_Plan],
        bags: Sequence[Bound],
        *,
        candidates: int,
        temperature: float,
    ):
        backbone = steerer.backbone
        self._steerer = steerer
        self._bags = bags
        self._is_greedy = temperature == 0
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
        self._pushes = self._prepare_pushes(backbone)
        self._step: Step | None = None

    def _row(self, plan: _Plan, candidate: int) -> _Row:
        spread = plan.controls.spread
        share = spread[candidate % len(spread)]
        goals = {}
        for name, column in plan.columns.items():
            bound, strength = self._bags[column], plan.strengths[name] * share
            wanted = bound.wanted(strength, plan.full_words(name))
            goals[name] = _Goal(bound, column, strength, wanted, Place())
        return _Row(plan, share, goals)

    def _prepare_pushes(self, backbone: Backbone) -> Pushes | None:
        """How far each row is pushed towards each label; None where no head is asked for."""
        families = self._steerer.heads
        pushes = [torch.zeros(len(self._rows), len(heads.labels)) for heads in families]
        is_on = torch.zeros(len(self._rows), dtype=torch.bool)
        for at, row in enumerate(self._rows):
            for name, numbers in row.plan.families.items():
                strength = row.plan.strengths[name] * row.share
                is_on[at] |= strength != 0
                for family in numbers:
                    heads = families[family]
                    push = self._push(row, family, name)
                    if name != heads.reference:
                        pushes[family][at, heads.labels.index(name)] += push
                        continue
                    others = torch.tensor([label != name for label in heads.labels])
                    pushes[family][at, others] -= push / int(others.sum())
        if not bool(is_on.any()):
            return None
        device = backbone.device
        used = [at for at, push in enumerate(pushes) if bool(push.any())]
        limits = torch.tensor([row.plan.controls.kl_limit for row in self._rows], device=device)
        heat = torch.tensor(
            [1.0 if self._is_greedy else row.heat for row in self._rows], device=device
        )
        return Pushes(
            [families[at] for at in used], [pushes[at].to(device) for at in used],
            is_on.to(device), heat, backbone.output_embedding(),
            temperature=self._temperature, limit=limits,
        )  # fmt: skip

    def _push(self, row: _Row, family: int, name: str) -> float:
        """How far a row is pushed towards a label of a family."""
        calibrated = self._steerer.heads[family].calibration.get(name)
        strength = row.plan.strengths[name] * row.share
        push = calibrated.of(strength) if calibrated else strength
        return push / row.plan.beside(name, family)

    # -- one step of the decoder

    def shift(self, logits: Tensor, hidden: Tensor) -> None:
        """Steers the logits (B, V) of the next piece, in place, given the states (B, H).

        A row of which nothing is asked now, or whose logits are not finite, is left as it is.
        """
        for row in self._rows:
            if not row.is_done:
                row.tokens.append(_CLOSED)
        if not self._is_greedy:
            logits /= self._heat(logits)
        norm = (logits / self._temperature).logsumexp(1)
        step = Step(logits.clone(), logits, norm, torch.zeros_like(norm))
        tilted = self._tilt(step)
        if self._pushes is not None and self._pushes.active():
            pushed, kl = self._pushes.move(step, hidden, tilted)
            for row, is_pushed, spent in zip(self._rows, pushed.tolist(), kl.tolist(), strict=True):
                if is_pushed and not row.is_done:
                    row.tokens[-1] = replace(row.tokens[-1], kl=spent)
        self._step = step

    def _heat(self, logits: Tensor) -> Tensor:
        """(B, 1) that logits are divided by: 1 where nothing is asked or they are no numbers."""
        heat = [1.0 if row.is_done else row.heat for row in self._rows]
        fine = logits.amax(1).isfinite()
        return torch.tensor(heat, device=logits.device).where(fine, 1.0)[:, None]

    def _tilt(self, step: Step) -> Tensor:
        """Brings the words of the lists nearer, in place; returns the pieces that it moved."""
        steered = []
        for at, row in enumerate(self._rows):
            if not row.is_done:
                prices, missing = row.prices(len(self._bags))
                if any(prices):
                    steered.append((at, row, prices, missing))
        logits = step.logits
        if not steered:
            return logits.new_zeros(0, dtype=torch.long)
        numbers, rows, asked, lacking = (list(part) for part in zip(*steered, strict=True))
        index = torch.tensor(numbers, device=logits.device)
        price = torch.tensor(asked, device=logits.device)  # (B, A)
        words = torch.tensor(lacking, device=logits.device)  # (B,) missing

        support, before, field_ = self._field(logits[index], step.norm[index], rows, words)
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
        step.log_z[index] = after.log_z.masked_fill(~fine, 0.0)
        self._note(rows, before, after, price * scale[:, None], fine)
        return support

    def read(self, ids: Sequence[int]) -> None:
        """Takes the pieces that were drawn, one for each row."""
        gains = self._gains(ids)
        for at, (row, piece) in enumerate(zip(self._rows, ids, strict=True)):
            if not row.is_done:
                if len(row.tokens) == row.drawn:  # the mode follows gradients, and did not now
                    row.tokens.append(_CLOSED)
                if gains[at]:
                    row.tokens[-1] = replace(row.tokens[-1], gain=gains[at])
                row.drawn += 1
                row.pieces.append(piece)
                row.is_done = piece == self._eos
                if row.is_done and self._pushes is not None:
                    self._pushes.end(at)
                for goal in row.goals.values():
                    goal.place = goal.bound.bag.trie.advance(goal.place, piece)

    def _gains(self, ids: Sequence[int]) -> list[float]:
        """Nats by which each drawn piece became likelier, at the temperature of its row."""
        step, self._step = self._step, None
        if step is None:
            return [0.0] * len(ids)
        index = torch.tensor(ids, device=step.norm.device)[:, None]
        moved = (step.logits.gather(1, index) - step.base.gather(1, index)).squeeze(1)
        return (moved / self._temperature - step.log_z).nan_to_num(0.0).tolist()

    def note_moved(self, moved: "Moved") -> None:
        """Takes what a step of the modes that follow gradients did to the rows."""
        names = [name for name, pull in self._named_pulls() if bool((pull.weight != 0).any())]
        before, after, kl = moved.before.tolist(), moved.after.tolist(), moved.kl.tolist()
        for at, row in enumerate(self._rows):
            row.fallbacks += bool(moved.fell_back[at]) and not row.is_done
            if not row.is_done and bool(moved.is_steered[at]):
                row.tokens.append(
                    TokenTrace(
                        {name: before[number][at] for number, name in enumerate(names)},
                        {name: after[number][at] for number, name in enumerate(names)},
                        kl=kl[at],
                    )
                )

    def pulls(self) -> list[Pull]:
        """What is asked now of the rows of the batch, an entry for each list and head."""
        return [pull for _, pull in self._named_pulls()]

    def _named_pulls(self) -> list[tuple[str, Pull]]:
        """The pulls with the names that traces give them."""
        found: list[tuple[str, Pull]] = []
        for column, bound in enumerate(self._bags):
            goals = [
                next((g for g in row.goals.values() if g.column == column), None)
                for row in self._rows
            ]
            strengths = [0.0 if goal is None or goal.is_met else goal.strength for goal in goals]
            name = bound.bag.spec.name
            has_head = any(name in row.plan.families for row in self._rows)
            found.append(
                (f"{name} (words)" if has_head else name, self._pull(bound.bag, strengths))
            )
        names = dict.fromkeys(name for row in self._rows for name in row.plan.families)
        for name in names:
            for family in sorted(
                {at for row in self._rows for at in row.plan.families.get(name, ())}
            ):
                heads = self._steerer.heads[family]
                strengths = [
                    row.plan.strengths[name] * row.share
                    if family in row.plan.families.get(name, ())
                    else 0.0
                    for row in self._rows
                ]
                key = name if name != heads.reference else f"{name} ({heads.family})"
                found.append((key, self._pull(heads.head(name), strengths)))
        return found

    def _pull(self, model: AttributeModel, strengths: Sequence[float]) -> Pull:
        asked = [0.0 if r.is_done else s for r, s in zip(self._rows, strengths, strict=True)]
        weight = torch.tensor(asked, device=self._support.device)
        return Pull(model, weight, torch.ones_like(weight))

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Goes on with `rows` only, as the decoder does."""
        self._rows = [self._rows[row] for row in rows]
        if self._pushes is not None:
            self._pushes.keep_rows(rows)

    def _field(
        self, logits: Tensor, norm: Tensor, rows: list[_Row], missing: Tensor
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
        log_p = logits[:, self._support[kept]] / self._temperature - norm[:, None]
        before = ((chance * weight) @ log_p.exp()[:, :, None]).squeeze(2)
        is_end = self._support[kept] == self._eos
        offset = -missing[:, None] * is_end
        return self._support[kept], before, Field(log_p, chance, weight, offset)

    def _solve(
        self, field_: Field, price: Tensor, before: Tensor, rows: list[_Row]
    ) -> tuple[Tensor, Tilted]:
        """The prices (B, A) at which each bag has the mass that its own price alone would buy."""
        active = price != 0
        shared = active.sum(1) > 1  # a row with one attribute is as it is alone, whoever is beside
        if not bool(shared.any()):
            return price, tilt(field_, price)
        bought = alone(field_, price)
        total = (bought * active).sum(1, keepdim=True)
        wanted = bought * (MOST_MASS / total.clamp_min(MOST_MASS))
        guess = together(price, before, wanted, active)
        solved, _ = solve(field_, wanted, guess, active, tolerance=_MISS / 2)
        solved = torch.where(shared[:, None], solved, price)
        after = tilt(field_, solved)
        missed = active & (((after.mass - wanted).abs() > _MISS) | (wanted < bought))
        for row, is_missed in zip(rows, (missed & shared[:, None]).tolist(), strict=True):
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

    def finish(self, texts: Sequence[Sequence[str]]) -> None:
        """Reads the finished candidates of every conversation, in the order they were drawn."""
        families = sorted(
            {at for row in self._all() for one in row.plan.families.values() for at in one}
        )
        wanted = [
            (row, text)
            for group, said in zip(self._groups, texts, strict=True)
            for row, text in zip(group, said, strict=True)
            if row.plan.families and text
        ]
        if not wanted:
            return
        vectors = self._steerer.embedder.encode([text for _, text in wanted])
        for family in families:
            heads = self._steerer.heads[family]
            read = self._steerer.reader(heads.family).read(vectors).tolist()
            for (row, _), probabilities in zip(wanted, read, strict=True):
                known = dict(zip(heads.labels, probabilities, strict=True))
                asked = [name for name, at in row.plan.families.items() if family in at]
                for name in asked:
                    share = against_the_rest(known, name, row.plan.wanted(asked))
                    row.readings[name] = row.readings.get(name, 0.0) + share / len(
                        row.plan.families[name]
                    )

    def _all(self) -> list[_Row]:
        return [row for group in self._groups for row in group]

    def share(self, group: int, candidate: int) -> float | None:
        """The candidate's own share of the strengths; None where nothing was asked."""
        row = self._groups[group][candidate]
        return row.share if row.plan.strengths else None

    def fit(self, group: int, candidate: int) -> float | None:
        """How far the candidate shows what was asked, from 0 to 1.

        Among candidates that show as much as was asked the most fluent is wanted, not the most
        extreme: half of joy is met by a reading of one half. What is asked together is to come
        together, so one thing that is missing outweighs the others: a harmonic mean.
        """
        row = self._groups[group][candidate]
        strengths = row.plan.strengths
        if not strengths:
            return None
        weights = {name: row.weight(name) for name in strengths}
        total = sum(weights.values())
        lacking = sum(weight / (row.met(name) + _FAINT) for name, weight in weights.items())
        return min(1.0, total) * max(0.0, total / lacking - _FAINT)

    def trace(self, group: int, candidate: int) -> SteeringTrace | None:
        """What was done to a candidate; None where nothing was asked."""
        row = self._groups[group][candidate]
        if not row.plan.strengths:
            return None
        attributes = {
            name: self._attribute(row, name, strength)
            for name, strength in row.plan.strengths.items()
        }
        texts = [self._steerer.backbone.text([piece]) for piece in row.pieces]
        named = [replace(one, text=text) for one, text in zip(row.tokens, texts, strict=False)]
        tokens = (*named, *row.tokens[len(named) :])  # steered, but not yet drawn
        return SteeringTrace(row.plan.controls.mode, row.share, attributes, tokens)

    def _attribute(self, row: _Row, name: str, strength: float) -> AttributeTrace:
        families = row.plan.families.get(name, ())
        language = self._steerer.heads[families[0]].language if families else None
        found = AttributeTrace(strength, language)
        if goal := row.goals.get(name):
            found = replace(
                found,
                language=goal.bound.bag.spec.language,
                digest=goal.bound.bag.spec.digest,
                wanted=goal.wanted,
                realised=goal.place.so_far,
                words=goal.place.words_so_far,
                missed=goal.missed,
            )
        if families:
            found = replace(
                found,
                push=self._push(row, families[0], name),
                head=self._steerer.heads[families[0]].digest,
                reading=row.readings.get(name),
            )
        return found

    def notes(self, group: int, candidate: int) -> tuple[str, ...]:
        """What the reader of the reply should know about a candidate's steering, in words."""
        row = self._groups[group][candidate]
        notes = [
            f"{name} has no words in the language of this conversation; it was not steered."
            for name in row.plan.unknown
        ]
        if row.fallbacks:
            notes.append(f"{row.fallbacks} pieces were not steered: their logits were not finite.")
        notes += [
            f"{name} had no effect: {why}."
            for name in row.plan.strengths
            if (why := row.why_no_effect(name))
        ]
        return tuple(notes)


def against_the_rest(
    probabilities: Mapping[str, float], name: str, wanted: Collection[str]
) -> float:
    """The probability of a label where the others that are wanted as well do not count.

    A family shares one probability among its labels, so that joy and surprise asked together could
    be read at one half each at most. Against the labels that nobody asked for both can be sure. A
    label that is asked away from is read as it is.
    """
    if name not in wanted:
        return probabilities[name]
    others = sum(p for label, p in probabilities.items() if label not in wanted)
    return probabilities[name] / max(1e-9, probabilities[name] + others)


def _met(strength: float, realised: float) -> float:
    """How far an attribute shows, from 0 to 1.

    One word is enough: among replies that have one, the most fluent is wanted. Asking the ranking
    for the second word of strength 1 as well cost half as much perplexity again.
    """
    return min(1.0, realised) if strength > 0 else 1 / (1 + realised)


def _language(turns: Sequence[str]) -> str:
    """The language of the newest turn that has letters; English if none has."""
    return next((found for turn in reversed(turns) if (found := language_of(turn))), "en")
