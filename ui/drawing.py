"""What is drawn as HTML around a chat: its messages, the list of chats, what is going on.

Every word that a person or a model wrote goes through `escape`; nothing else puts text into tags.
"""

import datetime
from html import escape
from itertools import groupby

from chatbot.errors import InputError
from chatbot.store import Conversations, StoredConversation, StoredMessage
from ui.handlers import Screen
from ui.markup import Sayer, do, icon, tool
from ui.texts import text


def conversation_html(chats: Conversations, screen: Screen) -> str:
    """The messages of the open conversation, or a greeting where there is none."""
    say = Sayer(screen.language)
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
        retry = f'<button class="plain" {do("retry", thread[-1].id)}>{say("retry")}</button>'
        drawn.append(f'<div class="unanswered">{say("unanswered")} {retry}</div>')
    busy = " busy" if screen.answering_id is not None else ""
    return f'<div class="thread{busy}">{"".join(drawn)}</div>'


def status_html(screen: Screen, kept: str | None = None) -> str:
    """What is going on, or what went wrong, under the conversation.

    Args:
        kept: why conversations are kept in memory only, in words; None where they are on disk.
    """
    if screen.answering_id is not None:
        return (
            '<div class="status" role="status"><span class="dots"><i></i><i></i><i></i></span>'
            f"<span>{escape(screen.progress)}</span>"
            f'<span class="bar"><i style="width:{100 * screen.part:.0f}%"></i></span></div>'
        )
    if screen.problem:
        return f'<div class="problem" role="alert">{icon("alert")}{escape(screen.problem)}</div>'
    if kept:
        return f'<div class="problem" role="status">{icon("alert")}{escape(kept)}</div>'
    return f'<div class="status" role="status">{escape(screen.notice)}</div>'


def list_html(chats: Conversations, screen: Screen) -> str:
    """The conversations that are found, newest first."""
    say = Sayer(screen.language)
    found = chats.listed(screen.search)
    if not found:
        none = say("none_found" if screen.search.strip() else "no_chats")
        return f'<div class="chats"><p class="none">{none}</p></div>'
    today = datetime.date.today()
    parts = [
        (age, [_row(one, screen, say) for one in group])
        for age, group in groupby(found, lambda one: _age(one, today))
    ]
    is_titled = [age for age, _ in parts] != ["today"]
    rows = "".join(
        (f'<h2 class="when">{say(age)}</h2>' if is_titled else "") + "".join(group)
        for age, group in parts
    )
    return f'<nav class="chats" aria-label="{say("chats")}">{rows}</nav>'


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


def _message(message: StoredMessage, screen: Screen, say: Sayer) -> str:
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
            is_shown = message.id == screen.inspected_id
            tools.append(tool("inspect", say, "inspect", message.id, is_on=is_shown))
    marks = f"message {message.role}" + (" edited" if message.id == screen.editing_id else "")
    who = say("you" if message.role == "user" else "bot")
    return (
        f'<article class="{marks}" aria-label="{who}"><div class="words" dir="auto">'
        f'{escape(message.content)}</div><div class="tools">{"".join(tools)}</div></article>'
    )


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


def _row(conversation: StoredConversation, screen: Screen, say: Sayer) -> str:
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
    return (
        f'<div class="row{" open" if is_open else ""}">'
        f'<button class="name" {do("open", conversation.id)} title="{title}" dir="auto"{current}>'
        f"{title}</button>"
        f"{tool('rename', say, 'rename', conversation.id)}"
        f"{tool('delete', say, 'delete', conversation.id)}</div>"
    )
