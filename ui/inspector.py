"""The inspector: how a reply came about, drawn from what was stored with it.

Nothing is computed again but sums and means of stored numbers. Replies stored by an older version
may lack what a newer one tells; that part is then left out.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from chatbot.errors import InputError
from chatbot.store import Conversations, StoredMessage
from ui.handlers import Screen
from ui.markup import MINUS, TIMES, Sayer, bullets, do, hue, number, section
from ui.notes import said
from ui.plots import Curve, curves, spark

_FULL_GAIN = 2.0
"""Nats at which the colour of a token is strongest."""

Stored = Mapping[str, Any]
"""`Reply.to_dict()`, or a part of it."""


def inspector_html(chats: Conversations, screen: Screen) -> str:
    """How the inspected reply came about, from its stored values."""
    say = Sayer(screen.language)
    try:
        branch = _inspected(chats, screen)
    except InputError:
        branch = []
    if not branch:
        return f'<p class="hint">{say("nothing_inspected")}</p>'
    message = branch[-1]
    if message.reply is None:
        return f'<p class="hint">{say("not_drawn")}</p>'
    reply = message.reply
    parts = (
        _outcome(message, reply, say),
        _rules(reply, say),
        section(say("tokens"), _tokens(reply, say), say("tokens_more")),
        section(say("attributes"), _attributes(reply, say)),
        section(say("by_turn"), _by_turn(branch, say), say("by_turn_more")),
        section(say("all_candidates"), _candidates(message, reply, say)),
        section(say("facts"), _facts(message, reply, say)),
    )
    return f'<div class="inspector">{"".join(parts)}</div>'


def _inspected(chats: Conversations, screen: Screen) -> list[StoredMessage]:
    """The branch that ends with the inspected message: the chosen one, or the newest reply."""
    if screen.inspected_id is not None:
        return chats.branch(screen.inspected_id)
    branch = [] if screen.conversation_id is None else chats.thread(screen.conversation_id)
    while branch and branch[-1].role == "user":
        branch.pop()
    return branch


def _outcome(message: StoredMessage, reply: Stored, say: Sayer) -> str:
    """What became of the candidates in one sentence, with everything there is to note."""
    candidates = reply["candidates"]
    dropped = sum(one["dropped"] is not None for one in candidates)
    outcome = reply["trace"].get("outcome", "chosen")
    told = say.known(f"outcome_{outcome}", outcome)
    counts = say("outcome_counts", n=len(candidates), dropped=dropped)
    notes = bullets(escape(said(say.language, note)) for note in reply["trace"]["notes"])
    if message.content != reply["text"]:
        notes = f'<p class="more">{say("another_taken")}</p>' + notes
    return f'<p class="outcome {escape(outcome)}"><b>{told}</b> {counts}</p>{notes}'


def _rules(reply: Stored, say: Sayer) -> str:
    """Topic rules that fired, with why and what they changed."""
    return section(
        say("rules_fired"),
        bullets(
            f"<b>{say.known('rule_' + one['name'], one['name'])}</b> "
            f"{number(one['probability'])} ≥ {number(one['threshold'])}: {escape(one['reason'])} "
            f"{_change(one['change'], say)}"
            for one in reply["trace"].get("rules", ())
        ),
    )


def _change(change: Stored, say: Sayer) -> str:
    given = [f"{say.attribute(name)} {number(value)}" for name, value in change["set"].items()]
    aside = [say.attribute(name) for name in change["aside"]]
    told = say("rule_sets", what="{}").format(", ".join(given)) if given else ""
    left = say("rule_asides", what="{}").format(", ".join(aside)) if aside else ""
    return f'<span class="quiet">{told} {left}</span>'


# -- tokens


def _tokens(reply: Stored, say: Sayer) -> str:
    """The pieces of the reply, coloured by how much likelier steering made each."""
    steering = reply["trace"]["steering"]
    pieces = [one for one in steering["tokens"] if one.get("text")] if steering else []
    if not pieces:
        return ""
    drawn = "".join(_token(one, say) for one in pieces)
    legend = (
        f'<p class="legend"><i class="token" style="--gain:100%"></i>{say("likelier")}'
        f'<i class="token less" style="--gain:100%"></i>{say("unlikelier")}</p>'
    )
    return f'<p class="tokens">{drawn}</p>{legend}'


def _token(token: Stored, say: Sayer) -> str:
    gain = token.get("gain", 0.0)
    depth = 100 * min(1.0, abs(gain) / _FULL_GAIN)
    told = [say("token_gain", times=number(math.exp(gain)), kl=number(token.get("kl", 0.0)))]
    told += [
        f"{say.attribute(name)} {number(token['before'].get(name), 3)} → {number(after, 3)}"
        for name, after in token["after"].items()
    ]
    kind = "token less" if gain < 0 else "token"
    return (
        f'<span class="{kind}" style="--gain:{depth:.0f}%" title="{"; ".join(told)}">'
        f"{escape(token['text'])}</span>"
    )


# -- attributes


def _attributes(reply: Stored, say: Sayer) -> str:
    """What each attribute was asked for and what came, one row each."""
    steering = reply["trace"]["steering"]
    if steering is None:
        return ""
    rows = "".join(
        _attribute(name, one, steering["tokens"], say)
        for name, one in steering["attributes"].items()
    )
    how = say("steered_how", mode=say("mode_" + steering["mode"]), share=number(steering["share"]))
    return (
        f"<table><thead><tr><th></th><th>{say('asked')}</th>"
        f'<th title="{say("read_more")}">{say("read")}</th>'
        f'<th title="{say("effect")}">{say("by_token")}</th></tr></thead>'
        f'<tbody>{rows}</tbody></table><p class="more">{how}</p>'
    )


def _attribute(name: str, one: Stored, tokens: Sequence[Stored], say: Sayer) -> str:
    marks = []
    if one["wanted"] or one["realised"]:
        found = {"came": number(one["realised"], 1), "wanted": number(one["wanted"], 1)}
        words = escape(", ".join(one["words"]))
        marks.append(say("words_came", **found) + (f": {words}" if words else ""))
    if one.get("push"):
        marks.append(say("pushed", push=number(one["push"])))
    before = [token["before"].get(name) for token in tokens]
    after = [token["after"].get(name) for token in tokens]
    line = spark([Curve(name, before, "faint"), Curve(name, after)])
    return (
        f'<tr><td><i class="dot" {hue(name)}></i>{say.attribute(name)}'
        f'<div class="marks">{" ".join(f"<span>{mark}</span>" for mark in marks)}</div></td>'
        f"<td>{number(one['strength'])}</td><td>{number(one.get('reading'))}</td><td>{line}</td>"
        f"</tr>"
    )


def _by_turn(branch: Sequence[StoredMessage], say: Sayer) -> str:
    """Each attribute over the bot's turns: asked dashed, read in the reply in full."""
    turns = [_steered(message) for message in branch if message.role == "bot"]
    names = list(dict.fromkeys(name for turn in turns for name in turn))
    if len(turns) < 2 or not names:
        return ""
    asked = [
        Curve(n, [t[n]["strength"] if n in t else 0.0 for t in turns], "dashed") for n in names
    ]
    read = [Curve(n, [t[n].get("reading") if n in t else None for t in turns]) for n in names]
    if all(len({*one.values}) == 1 for one in asked) and not any(
        value is not None for one in read for value in one.values
    ):
        return ""  # flat lines of what was asked tell nothing
    low = -1.0 if any((value or 0) < 0 for one in asked for value in one.values) else 0.0
    ticks = [str(place) for place in range(1, len(turns) + 1)]
    return legend(names, say) + curves(
        [*asked, *read], ticks=ticks, low=low, label=say("by_turn"), marked=len(turns) - 1
    )


def _steered(message: StoredMessage) -> Mapping[str, Stored]:
    steering = message.reply["trace"]["steering"] if message.reply else None
    return steering["attributes"] if steering else {}


def legend(names: Sequence[str], say: Sayer) -> str:
    """Attributes with their colours."""
    named = (f'<span><i class="dot" {hue(name)}></i>{say.attribute(name)}</span>' for name in names)
    return f'<p class="legend">{"".join(named)}</p>'


# -- candidates


def _candidates(message: StoredMessage, reply: Stored, say: Sayer) -> str:
    """Every candidate with what decided about it, the best first."""
    candidates = reply["candidates"]
    columns = {
        "coherence": any(one.get("coherence") is not None for one in candidates),
        "fit": any(one["fit"] is not None for one in candidates),
        "risk": any(one.get("verdict") for one in candidates),
    }
    taken = next((i for i, one in enumerate(candidates) if one["text"] == message.content), None)
    heads = "".join(f'<th title="{say(f"{name}_of")}">{say(name)}</th>'
                    for name, shown in columns.items() if shown)  # fmt: skip
    rows = "".join(
        _candidate(message, place, candidate, place == taken, columns, say)
        for place, candidate in enumerate(candidates)
    )
    return (
        f"<table><thead><tr><th></th>"
        f'<th title="{say("log_likelihood")}">{say("log_likelihood_short")}</th>'
        f'{heads}<th title="{say("score_of")}">{say("score")}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _candidate(
    message: StoredMessage,
    place: int,
    candidate: Stored,
    is_taken: bool,
    columns: Mapping[str, bool],
    say: Sayer,
) -> str:
    marks = _marks(message, candidate, is_taken, say)
    if not is_taken and candidate["text"] and candidate["dropped"] != "rejected":
        marks.append(
            f'<button class="plain" {do("take", message.id, place)}>{say("take")}</button>'
        )
    kind = "taken" if is_taken else "dropped" if candidate["dropped"] is not None else ""
    verdict = candidate.get("verdict")
    values = [per_piece(candidate)]
    values += [candidate.get("coherence")] if columns["coherence"] else []
    values += [candidate["fit"]] if columns["fit"] else []
    values += [verdict["risk"] if verdict else None] if columns["risk"] else []
    cells = "".join(f"<td>{number(value)}</td>" for value in [*values, candidate["score"]])
    return (
        f'<tr class="said {kind}"><td colspan="{len(values) + 2}">'
        f'<div class="words" dir="auto">{escape(candidate["text"]) or "–"}</div>'
        f'<div class="marks">{" ".join(f"<span>{mark}</span>" for mark in marks)}</div></td></tr>'
        f'<tr class="{kind}"><td></td>{cells}</tr>'
    )


def _marks(message: StoredMessage, candidate: Stored, is_taken: bool, say: Sayer) -> list[str]:
    """Why this one is the reply, or why it could not be."""
    marks = []
    if is_taken:
        is_ours = message.reply is None or candidate["text"] == message.reply["text"]
        marks.append(f"<b>{say('chosen' if is_ours else 'chosen_by_you')}</b>")
        if is_ours and message.reply is not None and candidate["dropped"] is None:
            marks.append(_sum(candidate, message.reply["trace"]["ranking"], say))
    if candidate["dropped"] is not None:
        marks.append(say.known(f"dropped_{candidate['dropped']}", candidate["dropped"]))
    verdict = candidate.get("verdict")
    if verdict and not verdict["accepted"]:
        reason = say.known(f"verdict_{verdict['reason']}", verdict["reason"])
        category = say.known(f"category_{verdict['category']}", verdict["category"])
        near = say("verdict_near", text=verdict["nearest"])
        marks.append(f'<span title="{near}">{category}: {reason}</span>')
    if candidate["finish"] == "length":
        marks.append(say("finish_length"))
    return marks


def _sum(candidate: Stored, ranking: Stored, say: Sayer) -> str:
    """The terms of the chosen one's score, as `chatbot.ranking.score_of` adds them."""
    verdict = candidate.get("verdict")
    terms = [f"{number(per_piece(candidate))} {say('log_likelihood_short')}"]
    if candidate.get("coherence") is not None:
        weighed = f"{number(ranking['coherence'], 1)} {TIMES} {number(candidate['coherence'])}"
        terms.append(f"+ {weighed} {say('coherence').lower()}")
    if candidate["fit"]:
        weighed = f"{number(ranking.get('fit', 0.0), 1)} {TIMES} {number(candidate['fit'])}"
        terms.append(f"+ {weighed} {say('fit').lower()}")
    if candidate.get("monotony"):
        weighed = f"{number(ranking.get('monotony', 0.0), 1)} {TIMES} {candidate['monotony']}"
        terms.append(f"{MINUS} {weighed} {say('monotony').lower()}")
    if verdict:
        weighed = f"{number(ranking.get('risk', 0.0), 1)} {TIMES} {number(verdict['risk'])}"
        terms.append(f"{MINUS} {weighed} {say('risk').lower()}")
    is_whole = ranking["length_power"] == 1 and not ranking["novelty"]
    return say("best_score") + (f": {' '.join(terms)}" if is_whole else "")


def per_piece(candidate: Stored) -> float | None:
    """Log-likelihood per piece in nats; None for a ready-made reply, which has no pieces."""
    pieces = len(candidate["token_ids"])
    return candidate["log_likelihood"] / pieces if pieces else None


def perplexity(candidate: Stored) -> float | None:
    """Per piece, of the model that is not steered."""
    mean = per_piece(candidate)
    return None if mean is None else math.exp(-mean)


# -- the rest


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def _facts(message: StoredMessage, reply: Stored, say: Sayer) -> str:
    """Seed, context, topics, time and model."""
    trace = reply["trace"]
    context = [say("context_read", turns=len(trace["turns"]), tokens=len(trace["prompt_ids"]))]
    if trace["dropped_turns"]:
        context.append(say("context_cut", dropped=trace["dropped_turns"]))
    if trace["truncated_pieces"]:
        context.append(say("truncated", tokens=trace["truncated_pieces"]))
    times = [
        f"{say.known(f'timing_{name}', name)} {_time(seconds)}"
        for name, seconds in reply["timings"].items()
    ]
    topics = sorted(trace.get("topics", {}).items(), key=lambda pair: -pair[1])
    model = trace["model"]
    keep = (
        f'<button class="plain" {do("seed", message.id, reply["seed"])}>{say("use_seed")}</button>'
    )
    facts = {
        "seed": f"{reply['seed']} {keep}",
        "context": ", ".join(context),
        "sensitive": ", ".join(f"{say.known(f'rule_{n}', n)} {number(p)}" for n, p in topics),
        "steps": str(trace["steps"]),
        "time": ", ".join(times),
        "model": f"{escape(model['name'])} <code>{escape(model['digest'][:12])}</code>",
    }
    rows = "".join(
        f"<dt>{say(name)}</dt><dd>{value}</dd>" for name, value in facts.items() if value
    )
    return f"<dl>{rows}</dl>"
