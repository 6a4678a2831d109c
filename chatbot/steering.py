"""Steering while a reply is drawn: from the strengths that are asked to a shift of the logits.

What is controlled is the reply, not the piece: a strength buys a budget of words of the attribute
over the whole reply, and nothing more is done once they have come. Budgets, rates and prices are
kept in `chatbot.budgets`; here they become a shift of the logits.

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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attribute_models.base import AttributeModel
from attribute_models.tilt import Field, Tilted, alone, limit, solve, tilt, together
from attribute_models.trie import Place
from chatbot.backbone import Backbone
from chatbot.binding import Bound, Steerer
from chatbot.budgets import FAINT, MISS, Goal, Plan, Row, plan_of
from chatbot.controls import Controls
from chatbot.perturbation import Moved, Pull
from chatbot.pushing import Pushes, Step
from chatbot.types import AttributeTrace, SteeringTrace, TokenTrace

MOST_MASS = 0.9
"""Share of the probability that all attributes together may ask for."""

_CLOSED = TokenTrace()


def start_steering(
    steerer: Steerer,
    controls: Sequence[Controls],
    conversations: Sequence[Sequence[str]],
    *,
    candidates: int,
    temperature: float,
) -> "Steering | None":
    """The steering of a batch; None where nothing is asked of any conversation.

    Raises:
        UnknownAttributeError: there is no such attribute.
    """
    plans: list[Plan] = []
    bags: dict[int, Bound] = {}
    for asked, turns in zip(controls, conversations, strict=True):
        plan = plan_of(steerer, asked, turns)
        for name in plan.strengths:
            one = steerer.bound(name, plan.language)
            if one is not None:
                bags.setdefault(id(one), one)
                plan.columns[name] = list(bags).index(id(one))
        plans.append(plan)
    if not any(plan.strengths or plan.unknown for plan in plans):
        return None
    return Steering(
        steerer, plans, list(bags.values()), candidates=candidates, temperature=temperature
    )


class Steering:
    """The steering of one batch; lives as long as its candidates are drawn.

    `shift` changes the logits of a step, `read` takes what was drawn from them.
    """

    def __init__(
        self,
        steerer: Steerer,
        plans: Sequence[Plan],
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

    def _row(self, plan: Plan, candidate: int) -> Row:
        spread = plan.controls.spread
        share = spread[candidate % len(spread)]
        goals = {}
        for name, column in plan.columns.items():
            bound, strength = self._bags[column], plan.strengths[name] * share
            wanted = bound.wanted(strength, plan.full_words(name))
            goals[name] = Goal(bound, column, strength, wanted, Place())
        return Row(plan, share, goals)

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

    def _push(self, row: Row, family: int, name: str) -> float:
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

    def note_moved(self, moved: Moved) -> None:
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
        self, logits: Tensor, norm: Tensor, rows: list[Row], missing: Tensor
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
        self, field_: Field, price: Tensor, before: Tensor, rows: list[Row]
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
        solved, _ = solve(field_, wanted, guess, active, tolerance=MISS / 2)
        solved = torch.where(shared[:, None], solved, price)
        after = tilt(field_, solved)
        missed = active & (((after.mass - wanted).abs() > MISS) | (wanted < bought))
        for row, is_missed in zip(rows, (missed & shared[:, None]).tolist(), strict=True):
            for goal in row.goals.values():
                goal.missed += is_missed[goal.column]
        return solved, after

    def _note(
        self, rows: list[Row], before: Tensor, after: Tilted, price: Tensor, fine: Tensor
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

    def _all(self) -> list[Row]:
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
        lacking = sum(weight / (row.met(name) + FAINT) for name, weight in weights.items())
        return min(1.0, total) * max(0.0, total / lacking - FAINT)

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

    def _attribute(self, row: Row, name: str, strength: float) -> AttributeTrace:
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
