"""What is drawn as HTML: the conversation, the list of conversations, the inspector.

Every word that a person or a model wrote goes through `escape`; nothing else puts text into tags.
A button carries `data-do`, `data-id` and `data-value`, which come back as an `Action`. The
inspector reads the stored reply alone and computes nothing again.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from chatbot.errors import InputError
from chatbot.store import Conversations, StoredConversation, StoredMessage
from ui.handlers import Screen
from ui.texts import Language, attribute_name, has_text, text

_STROKES = {
    "edit": "M4 20h4L19 9l-4-4L4 16v4zM13 7l4 4",
    "retry": "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
    "copy": "M9 9h11v11H9zM5 15H4V4h11v1",
    "like": "M7 11v9H4v-9zM7 11l4-8c2 0 3 1 2.500 3.500L13 9h6c1 0 2 1 1.700 2.200l-1.700 7"
    "c-.3 1-1 1.800-2 1.800H7",
    "dislike": "M7 13V4H4v9zM7 13l4 8c2 0 3-1 2.500-3.500L13 15h6c1 0 2-1 1.700-2.200l-1.700-7"
    "c-.3-1-1-1.800-2-1.800H7",
    "inspect": "M4 20V10M10 20V4M16 20v-7M22 20H2",
    "rename": "M4 20h4L19 9l-4-4L4 16v4z",
    "delete": "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
    "earlier_version": "M14 6l-6 6 6 6",
    "later_version": "M10 6l6 6-6 6",
    "alert": "M12 8v5M12 16.500v.5M12 3l10 18H2z",
}


def conversation_html(chats: Conversations, screen: Screen) -> str:
    """The messages of the open conversation, or a greeting where there is none."""
    say = _Sayer(screen.language)
    if screen.conversation_id is None:
        return _greeting(say)
    try:
        if screen.answering_id is None:
            thread = chats.thread(screen.conversation_id)
        else:
            thread = chats.branch(screen.answering_id)
    except InputError:
        return f'<div class="empty"><p>{say("gone")}</p></div>'
    drawn = [_message(message, screen, say) for message in thread]
    if thread and thread[-1].role == "user" and screen.answering_id is None:
        retry = f'<button class="plain" {_do("retry", thread[-1].id)}>{say("retry")}</button>'
        drawn.append(f'<div class="unanswered">{say("unanswered")} {retry}</div>')
    busy = " busy" if screen.answering_id is not None else ""
    return f'<div class="thread{busy}">{"".join(drawn)}</div>'


def status_html(screen: Screen) -> str:
    """What is going on, or what went wrong, under the conversation."""
    if screen.answering_id is not None:
        return (
            '<div class="status" role="status"><span class="dots"><i></i><i></i><i></i></span>'
            f"<span>{escape(screen.progress)}</span>"
            f'<span class="bar"><i style="width:{100 * screen.part:.0f}%"></i></span></div>'
        )
    if screen.problem:
        return f'<div class="problem" role="alert">{_icon("alert")}{escape(screen.problem)}</div>'
    return f'<div class="status" role="status">{escape(screen.notice)}</div>'


def list_html(chats: Conversations, screen: Screen) -> str:
    """The conversations that are found, newest first."""
    say = _Sayer(screen.language)
    found = chats.listed(screen.search)
    if not found:
        none = say("none_found" if screen.search.strip() else "no_chats")
        return f'<div class="chats"><p class="none">{none}</p></div>'
    rows = "".join(_row(one, screen, say) for one in found)
    return f'<nav class="chats">{rows}</nav>'


def inspector_html(chats: Conversations, screen: Screen) -> str:
    """How the inspected reply came about, from its stored values."""
    say = _Sayer(screen.language)
    try:
        message = None if screen.inspected_id is None else chats.message(screen.inspected_id)
    except InputError:
        message = None
    if message is None:
        return f'<p class="hint">{say("nothing_inspected")}</p>'
    if message.reply is None:
        return f'<p class="hint">{say("not_drawn")}</p>'
    reply = message.reply
    return (
        f'<div class="inspector">{_notes(reply, say)}{_steering(reply, say)}'
        f"{_candidates(message, reply, say)}{_facts(message, reply, say)}</div>"
    )


class _Sayer:
    """The escaped sentences of one language."""

    def __init__(self, language: Language):
        self.language = language

    def __call__(self, name: str, **values: object) -> str:
        return escape(text(self.language, name, **values))


def _greeting(say: _Sayer) -> str:
    starters = "".join(
        f"<button {_do('start', value=text(say.language, name))}>{say(name)}</button>"
        for name in ("starter_1", "starter_2", "starter_3")
    )
    return (
        f'<div class="empty"><h1>{say("greeting")}</h1><p>{say("greeting_more")}</p>'
        f'<div class="starters">{starters}</div></div>'
    )


def _message(message: StoredMessage, screen: Screen, say: _Sayer) -> str:
    tools = [
        _versions(message, say),
        _tool("copy", say, "copy"),
        _tool("edit", say, "edit", message.id),
    ]
    if message.role == "bot":
        tools.append(_tool("retry", say, "retry", message.id))
        for name, value in (("like", 1), ("dislike", -1)):
            tools.append(_tool(name, say, "rate", message.id, value, message.rating == value))
        if message.reply_json is not None:
            is_shown = message.id == screen.inspected_id
            tools.append(_tool("inspect", say, "inspect", message.id, is_on=is_shown))
    marks = f"message {message.role}" + (" edited" if message.id == screen.editing_id else "")
    who = say("you" if message.role == "user" else "bot")
    return (
        f'<article class="{marks}" aria-label="{who}"><div class="words">'
        f'{escape(message.content)}</div><div class="tools">{"".join(tools)}</div></article>'
    )


def _versions(message: StoredMessage, say: _Sayer) -> str:
    """Which of the versions at this place is seen, with ways to the others."""
    if len(message.versions) == 1:
        return ""
    place = message.versions.index(message.id)
    ways = []
    for name, other in (("earlier_version", place - 1), ("later_version", place + 1)):
        if 0 <= other < len(message.versions):
            ways.append(_tool(name, say, "version", message.versions[other]))
        else:
            ways.append(f'<button class="tool" disabled>{_icon(name)}</button>')
    return (
        f'<span class="versions">{ways[0]}<span>{place + 1}/{len(message.versions)}</span>'
        f"{ways[1]}</span>"
    )


def _row(conversation: StoredConversation, screen: Screen, say: _Sayer) -> str:
    title = escape(conversation.title) or say("untitled")
    if conversation.id == screen.renaming_id:
        return (
            f'<div class="row"><input {_do("name", conversation.id)} maxlength="80" '
            f'value="{escape(conversation.title)}" aria-label="{say("rename")}"></div>'
        )
    if conversation.id == screen.deleting_id:
        return (
            f'<div class="row asking"><span>{say("delete_sure")}</span>'
            f'<button class="danger" {_do("delete_sure", conversation.id)}>{say("delete")}</button>'
            f"<button {_do('keep')}>{say('keep')}</button></div>"
        )
    is_open = conversation.id == screen.conversation_id
    return (
        f'<div class="row{" open" if is_open else ""}">'
        f'<button class="name" {_do("open", conversation.id)} title="{title}">{title}</button>'
        f"{_tool('rename', say, 'rename', conversation.id)}"
        f"{_tool('delete', say, 'delete', conversation.id)}</div>"
    )


def _notes(reply: Mapping[str, Any], say: _Sayer) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in reply["trace"]["notes"])
    return f'<ul class="notes" aria-label="{say("notes")}">{notes}</ul>' if notes else ""


def _steering(reply: Mapping[str, Any], say: _Sayer) -> str:
    """What each attribute was asked for, which of its words came, and its share over the tokens."""
    steering = reply["trace"]["steering"]
    if steering is None:
        return ""
    rows = "".join(
        f"<tr><td>{escape(attribute_name(say.language, name))}"
        f'<div class="marks">{escape(", ".join(one["words"]))}</div></td>'
        f"<td>{_number(one['strength'])}</td>"
        f"<td>{_number(one['realised'])} / {_number(one['wanted'])}</td>"
        f"<td>{_line([token['after'].get(name, 0.0) for token in steering['tokens']])}</td></tr>"
        for name, one in steering["attributes"].items()
    )
    return (
        f"<table><thead><tr><th>{say('steering')}</th><th>{say('asked')}</th>"
        f'<th>{say("words_came")}</th><th title="{say("effect")}">{say("by_token")}</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _line(shares: Sequence[float]) -> str:
    """Shares from 0 to 1 as bars, one for each token."""
    bars = "".join(
        f'<rect x="{4 * place}" y="{20 - 20 * min(1, max(0, share)):.1f}" width="3" '
        f'height="{max(0.6, 20 * min(1, max(0, share))):.1f}"/>'
        for place, share in enumerate(shares[:40])
    )
    return f'<svg class="line" viewBox="0 0 {4 * max(1, min(40, len(shares)))} 20">{bars}</svg>'


def _candidates(message: StoredMessage, reply: Mapping[str, Any], say: _Sayer) -> str:
    """Every candidate with what decided about it, the best first."""
    candidates = reply["candidates"]
    has_fit = any(one["fit"] is not None for one in candidates)
    taken = next((i for i, one in enumerate(candidates) if one["text"] == message.content), None)
    fit = f"<th>{say('fit')}</th>" if has_fit else ""
    rows = "".join(
        _candidate(message, place, candidate, place == taken, has_fit, say)
        for place, candidate in enumerate(candidates)
    )
    return (
        f"<table><thead><tr><th>{say('candidate')}</th>"
        f'<th title="{say("log_likelihood")}">{say("log_likelihood_short")}</th>'
        f"{fit}<th>{say('score')}</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _candidate(
    message: StoredMessage,
    place: int,
    candidate: Mapping[str, Any],
    is_taken: bool,
    has_fit: bool,
    say: _Sayer,
) -> str:
    marks = []
    if is_taken:
        is_ours = candidate["text"] == message.reply["text"] if message.reply else True
        marks.append(f"<b>{say('chosen' if is_ours else 'chosen_by_you')}</b>")
    if candidate["dropped"] is not None:
        marks.append(_known(say, f"dropped_{candidate['dropped']}", candidate["dropped"]))
    if candidate["finish"] == "length":
        marks.append(say("finish_length"))
    if not is_taken and candidate["text"]:
        take = f'<button class="plain" {_do("take", message.id, place)}>{say("take")}</button>'
        marks.append(take)
    kind = "taken" if is_taken else "dropped" if candidate["dropped"] is not None else ""
    fit = f"<td>{_number(candidate['fit'])}</td>" if has_fit else ""
    per_piece = candidate["log_likelihood"] / max(1, len(candidate["token_ids"]))
    return (
        f'<tr class="{kind}"><td><div class="words">{escape(candidate["text"]) or "–"}</div>'
        f'<div class="marks">{" ".join(f"<span>{mark}</span>" for mark in marks)}</div></td>'
        f"<td>{_number(per_piece)}</td>{fit}<td>{_number(candidate['score'])}</td></tr>"
    )


def _facts(message: StoredMessage, reply: Mapping[str, Any], say: _Sayer) -> str:
    """Seed, context, time and model."""
    trace = reply["trace"]
    context = [say("context_read", turns=len(trace["turns"]), tokens=len(trace["prompt_ids"]))]
    if trace["dropped_turns"]:
        context.append(say("context_cut", dropped=trace["dropped_turns"]))
    if trace["truncated_pieces"]:
        context.append(say("truncated", tokens=trace["truncated_pieces"]))
    times = [
        f"{_known(say, f'timing_{name}', name)} {seconds:.2f} s"
        for name, seconds in reply["timings"].items()
    ]
    model = trace["model"]
    keep = (
        f'<button class="plain" {_do("seed", message.id, reply["seed"])}>{say("use_seed")}</button>'
    )
    facts = {
        "seed": f"{reply['seed']} {keep}",
        "context": ", ".join(context),
        "steps": str(trace["steps"]),
        "time": ", ".join(times),
        "model": f"{escape(model['name'])} <code>{escape(model['digest'][:12])}</code>",
    }
    rows = "".join(f"<dt>{say(name)}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _known(say: _Sayer, name: str, otherwise: object) -> str:
    """The sentence of a name that comes from a reply, or its own word where there is none."""
    return say(name) if has_text(name) else escape(str(otherwise))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _tool(
    name: str, say: _Sayer, do: str, about: int = 0, value: object = "", is_on: bool = False
) -> str:
    pressed = ' aria-pressed="true"' if is_on else ""
    return (
        f'<button class="tool" {_do(do, about, value)} title="{say(name)}" '
        f'aria-label="{say(name)}"{pressed}>{_icon(name)}</button>'
    )


def _do(do: str, about: int = 0, value: object = "") -> str:
    return f'data-do="{do}" data-id="{about}" data-value="{escape(str(value))}"'


def _icon(name: str) -> str:
    return f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_STROKES[name]}"/></svg>'
