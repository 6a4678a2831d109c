"""What is drawn as HTML around a chat: its messages, the list of chats, what is going on.

Every word that a person or a model wrote goes through `escape`; nothing else puts text into tags.
"""

import datetime
from collections.abc import Mapping, Sequence, Set
from html import escape
from itertools import groupby
from typing import Any

from chatbot.errors import InputError
from chatbot.store import Conversations, StoredConversation, StoredMessage
from chatbot.types import Progress
from ui.answers import Answering
from ui.handlers import Screen, told
from ui.markup import Sayer, do, hue, icon, notice, number, problem, progress, tool, working
from ui.notes import said
from ui.texts import Language, text


def conversation_html(
    chats: Conversations, screen: Screen, answering: Answering | None = None
) -> str:
    """The messages of the open conversation, or a greeting where there is none.

    Args:
        answering: what `Answers` knows of this conversation.
    """
    say = Sayer(screen.language)
    if screen.conversation_id is None:
        return _greeting(say)
    is_busy = answering is not None and not answering.is_over
    try:
        if is_busy and answering is not None:
            thread = chats.branch(answering.asked_id)
        else:
            thread = chats.thread(screen.conversation_id)
    except InputError:
        return f'<div class="empty"><p>{say("gone")}</p></div>'
    inspected_id = screen.inspected_id or max(
        (message.id for message in thread if message.role == "bot"), default=None
    )
    drawn = [_message(message, screen, message.id == inspected_id, say) for message in thread]
    if thread and thread[-1].role == "user" and not is_busy:
        retry = f'<button class="plain" {do("retry", thread[-1].id)}>{say("retry")}</button>'
        drawn.append(f'<div class="unanswered">{say("unanswered")} {retry}</div>')
    kind = "thread busy" if is_busy else "thread"
    chat = f'data-chat="{screen.conversation_id}"'
    return f'<div class="{kind}" {chat}>{"".join(drawn)}</div>'


def status_html(screen: Screen, answering: Answering | None = None, kept: str | None = None) -> str:
    """What went wrong or happened, under the conversation.

    Args:
        answering: what `Answers` knows of this conversation.
        kept: why conversations are kept in memory only, in words; None where they are on disk.
    """
    if answering is not None and not answering.is_over:
        # Of all that `progress_html` draws, this chat's.
        open_chat = f'#progress .of-chat[data-chat="{screen.conversation_id}"]'
        return f"<style>{open_chat} {{display: block}}</style>"
    if screen.told_in == "conversation" and screen.problem:
        return problem(screen.problem)
    if answering is not None and answering.told == "failed":
        return problem(answering.why)
    if answering is not None and answering.told == "broke":
        return problem(text(screen.language, "went_wrong", why=answering.why))
    if kept:
        return problem(kept)
    if answering is not None:
        return notice(text(screen.language, "stopped"))
    return notice(screen.notice if screen.told_in == "conversation" else "")


def progress_html(under_way: Sequence[Answering], language: Language) -> str:
    """How far each reply is that a visitor waits for.

    All are in the page, and `status_html` lets the one of the open chat be seen: a chat may be left
    while this is on its way to the browser.
    """
    return "".join(
        f'<div class="of-chat" data-chat="{one.conversation_id}">{_progress(one, language)}</div>'
        for one in under_way
    )


def _progress(answering: Answering, language: Language) -> str:
    now = answering.told
    part = now.tokens / now.max_tokens if isinstance(now, Progress) else 0.0
    return progress(told(language, now), part)


def list_html(chats: Conversations, screen: Screen, busy: Set[int] = frozenset()) -> str:
    """The conversations that are found, newest first, under what happened to them.

    Args:
        busy: ids of those that are being answered.
    """
    say = Sayer(screen.language)
    told = ""
    if screen.told_in == "chats":
        told = problem(screen.problem) if screen.problem else notice(screen.notice)
    found = chats.listed(screen.search)
    if not found:
        none = say("none_found" if screen.search.strip() else "no_chats")
        return f'{told}<div class="chats"><p class="none">{none}</p></div>'
    today = datetime.date.today()
    parts = [
        (age, [_row(one, screen, one.id in busy, say) for one in group])
        for age, group in groupby(found[: screen.listed], lambda one: _age(one, today))
    ]
    is_titled = [age for age, _ in parts] != ["today"]
    rows = "".join(
        (f'<h2 class="when">{say(age)}</h2>' if is_titled else "") + "".join(group)
        for age, group in parts
    )
    if len(found) > screen.listed:
        left = say("more_chats", n=len(found) - screen.listed)
        rows += f'<button class="plain all" {do("more")}>{left}</button>'
    return f'{told}<nav class="chats" aria-label="{say("chats")}">{rows}</nav>'


def _age(conversation: StoredConversation, today: datetime.date) -> str:
    """How long ago it was written to, as one of four names."""
    days = (today - datetime.date.fromtimestamp(conversation.updated_at)).days
    return (
        "today" if days <= 0 else "yesterday" if days == 1
        else "last_week" if days <= 7 else "earlier"
    )  # fmt: skip


def _greeting(say: Sayer) -> str:
    starters = "".join(
        f"<button {do('start', value=text(say.language, name))}>{say(name)}</button>"
        for name in ("starter_1", "starter_2", "starter_3")
    )
    return (
        f'<div class="empty"><h1>{say("greeting")}</h1><p>{say("greeting_more")}</p>'
        f'<div class="starters">{starters}</div>'
        f'<p class="steer"><button class="plain" data-panel="steering">{say("greeting_steer")}'
        "</button></p></div>"
    )


def _message(message: StoredMessage, screen: Screen, is_inspected: bool, say: Sayer) -> str:
    tools = [
        _versions(message, say),
        tool("copy", say, "copy"),
        tool("edit", say, "edit", message.id),
    ]
    if message.role == "bot":
        tools.append(tool("retry", say, "retry", message.id))
        for name, value in (("like", 1), ("dislike", -1)):
            tools.append(tool(name, say, "rate", message.id, value, message.rating == value))
        if message.reply_json is not None:
            tools.append(tool("inspect", say, "inspect", message.id, is_on=is_inspected))
    marks = f"message {message.role}" + (" edited" if message.id == screen.editing_id else "")
    who = say("you" if message.role == "user" else "bot")
    return (
        f'<article class="{marks}" aria-label="{who}"><div class="words" dir="auto">'
        f"{escape(message.content)}</div>{_effects(message, say)}"
        f'<div class="tools">{"".join(tools)}</div></article>'
    )


def _effects(message: StoredMessage, say: Sayer) -> str:
    """What the controls asked of a reply and what came, in one line that opens the inspector."""
    reply = message.reply
    if reply is None:
        return ""
    trace = reply["trace"]
    is_ours = message.content == reply["text"]
    attributes = trace["steering"]["attributes"] if trace["steering"] else {}
    marks = [_effect(name, one, is_ours, say) for name, one in attributes.items()]
    for one in trace.get("rules", ()):
        rule = say.known("rule_" + one["name"], one["name"])
        marks.append(f"<span>{say('rule_acted', name='{}').format(rule)}</span>")
    for note in trace["notes"] if is_ours else ():
        told = escape(said(say.language, note))
        marks.append(f'<span class="note">{icon("alert")}{told}</span>')
    if not is_ours:
        marks.append(f"<span>{say('chosen_by_you')}</span>")
    if not marks:
        return ""
    title = f'title="{say("inspect")}"'
    return f'<button class="effects" {do("inspect", message.id)} {title}>{"".join(marks)}</button>'


def _effect(name: str, one: Mapping[str, Any], is_ours: bool, say: Sayer) -> str:
    came = ""
    if is_ours and one.get("reading") is not None:
        came = f", {say('shown_of', value=number(one['reading']))}"
    elif is_ours and one["words"]:
        came = f": {escape(', '.join(one['words']))}"
    asked = f"{say.attribute(name)} {number(one['strength'])}"
    return f'<span><i class="dot" {hue(name)}></i>{asked}{came}</span>'


def _versions(message: StoredMessage, say: Sayer) -> str:
    """Which of the versions at this place is seen, with ways to the others."""
    if len(message.versions) == 1:
        return ""
    place = message.versions.index(message.id)
    ways = []
    for name, other in (("earlier_version", place - 1), ("later_version", place + 1)):
        if 0 <= other < len(message.versions):
            ways.append(tool(name, say, "version", message.versions[other]))
        else:
            ways.append(f'<button class="tool" disabled>{icon(name)}</button>')
    return (
        f'<span class="versions">{ways[0]}<span>{place + 1}/{len(message.versions)}</span>'
        f"{ways[1]}</span>"
    )


def _row(conversation: StoredConversation, screen: Screen, is_busy: bool, say: Sayer) -> str:
    title = escape(conversation.title) or say("untitled")
    if conversation.id == screen.renaming_id:
        return (
            f'<div class="row"><input {do("name", conversation.id)} maxlength="80" '
            f'value="{escape(conversation.title)}" dir="auto" aria-label="{say("rename")}"></div>'
        )
    if conversation.id == screen.deleting_id:
        return (
            f'<div class="row asking"><span>{say("delete_sure")}</span>'
            f'<button class="danger" {do("delete_sure", conversation.id)}>{say("delete")}</button>'
            f"<button {do('keep')}>{say('keep')}</button></div>"
        )
    is_open = conversation.id == screen.conversation_id
    current = ' aria-current="true"' if is_open else ""
    dots = working(text(screen.language, "being_answered")) if is_busy else ""
    return (
        f'<div class="row{" open" if is_open else ""}">'
        f'<button class="name" {do("open", conversation.id)} title="{title}" dir="auto"{current}>'
        f"{title}</button>{dots}"
        f"{tool('rename', say, 'rename', conversation.id)}"
        f"{tool('delete', say, 'delete', conversation.id)}</div>"
    )
