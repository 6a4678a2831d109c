"""A response to label as HTML: the turns before it, one question, and a button for each answer."""

import secrets
from html import escape

from ui.labelling import ANSWERS, Asked
from ui.markup import Sayer, do, problem

_KEYS = {"yes": "y", "maybe": "m", "no": "n", "undo": "u"}


def labelling_html(now: Asked, say: Sayer) -> str:
    """What is asked, or what went wrong, or that all is done."""
    if now.problem:
        retry = f"<button {do('look', now.place)}>{say('label_retry')}</button>"
        body = f'{problem(now.problem)}<div class="answers">{retry}</div>'
    elif now.place == now.total:
        done = f'<p class="status" role="status">{say("label_done", total=now.total)}</p>'
        body = f'{done}<div class="answers">{_undo(now, say)}</div>'
    else:
        body = _task(now, say) + _question(now, say)
    # New with every drawing: the page takes one press for each.
    mark = secrets.token_hex(8)
    return f'<div class="inspector labelling" data-drawn="{mark}">{body}</div>'


def _task(now: Asked, say: Sayer) -> str:
    """Speakers are A and B in turn, as the evaluator shows them at the prompt."""
    turns = "".join(
        f'<div class="turn"><b>{"AB"[place % 2]}</b><div class="words">{escape(turn)}</div></div>'
        for place, turn in enumerate(now.context)
    )
    progress = say("label_progress", n=now.done + 1, total=now.total)
    return (
        f'<p class="more" role="status">{progress}</p>'
        f'<progress max="{now.total}" value="{now.done}" aria-hidden="true"></progress>{turns}'
        f'<div class="turn judged"><b>{"AB"[len(now.context) % 2]}</b>'
        f'<div><p class="more">{say("label_response")}</p>'
        f'<div class="words">{escape(now.response)}</div></div></div>'
    )


def _question(now: Asked, say: Sayer) -> str:
    buttons = "".join(
        f"<button {do(now.question, now.place, answer)} {_key(answer)}>"
        f"{say(f'label_{answer}')}<kbd>{_KEYS[answer]}</kbd></button>"
        for answer in ANSWERS
    )
    return (
        f"<h3>{say(f'label_name_{now.question}')}</h3>"
        f'<p class="more">{say(f"label_{now.question}")}</p>'
        f'<div class="answers">{buttons}</div><div class="answers">{_undo(now, say)}</div>'
    )


def _undo(now: Asked, say: Sayer) -> str:
    """Of the first question where the second is asked, else of the last answer."""
    action = "again" if now.question == "specific" else "undo"
    disabled = "" if now.done or action == "again" else " disabled"
    return (
        f"<button {do(action, now.place)} {_key('undo')}{disabled}>"
        f"{say('label_undo')}<kbd>{_KEYS['undo']}</kbd></button>"
    )


def _key(answer: str) -> str:
    key = _KEYS[answer]
    return f'data-key="{key}" aria-keyshortcuts="{key}"'
