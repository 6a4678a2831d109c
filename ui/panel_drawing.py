"""Drawings of the panel: what is mixed for the next reply, and the schedule over the turns."""

from collections.abc import Sequence

from chatbot.controls import Controls
from chatbot.controls import Curve as Asked
from ui.markup import Sayer, do, hue, icon, number
from ui.plots import Curve, curves, shares
from ui.scheduling import Spoken
from ui.turns import Settings

LEAST_TURNS = 8
"""Turns drawn at least."""


def mix_html(controls: Controls, now: Spoken, say: Sayer) -> str:
    """The strengths of the next reply as parts of a bar, with their names."""
    parts = _asked(controls, now)
    if not parts:
        return f'<div class="mix"><p class="more">{say("no_mix")}</p></div>'
    return (
        f'<div class="mix"><p class="more">{say("mix")}</p>{shares(parts)}'
        f'<p class="legend">{_named(parts, say)}</p></div>'
    )


def asked_html(settings: Settings, now: Spoken, say: Sayer) -> str:
    """The same in one line that opens the panel, with what else is not as it is by default.

    The keys of the composer stand beside it.
    """
    asked = _named(_asked(settings.controls, now), say) or f"<span>{say('not_steered')}</span>"
    if settings.controls.mode != "hidden":
        asked += f"<span>{say('mode_' + settings.controls.mode)}</span>"
    seed = ""
    if settings.seed is not None:
        seed = (
            f'<button data-panel="settings" title="{say("seed_more")}">{icon("lock")}'
            f"<span>{say('seed')} {settings.seed}</span></button>"
        )
    return (
        f'<button data-panel="steering" title="{say("panel")}">{icon("steer")}{asked}</button>'
        f'{seed}<span class="keys">{say("keys")}</span>'
    )


def _asked(controls: Controls, now: Spoken) -> list[tuple[str, float]]:
    """Attributes and strengths of the next reply."""
    turn, said = now
    return [(name, value) for name, value in controls.at(turn, said).items() if value]


def _named(parts: Sequence[tuple[str, float]], say: Sayer) -> str:
    return "".join(
        f'<span><i class="dot" {hue(name)}></i>{say.attribute(name)} {number(value)}</span>'
        for name, value in parts
    )


def schedule_html(controls: Controls, now: Spoken, say: Sayer) -> str:
    """The curves of the schedule, the present turn marked, with what each does in words."""
    scheduled = controls.schedule.curves if controls.schedule else {}
    if not scheduled:
        return f'<p class="more">{say("no_schedule")}</p>'
    turn, said = now
    turns = range(1, max(LEAST_TURNS, turn + 3) + 1)
    lines = [Curve(name, [asked.at(t, said) for t in turns]) for name, asked in scheduled.items()]
    low = -1.0 if any((value or 0) < 0 for line in lines for value in line.values) else 0.0
    drawn = curves(
        lines, ticks=[str(t) for t in turns], low=low, label=say("schedule"), marked=turn - 1
    )
    rows = "".join(_row(name, asked, now, say) for name, asked in scheduled.items())
    return f"{drawn}{rows}"


def _row(name: str, asked: Asked, now: Spoken, say: Sayer) -> str:
    """One attribute with where it goes and a way to take it out."""
    turn, said = now
    here, next_one = asked.at(turn, said), asked.at(turn + 1, said)
    way = "rising" if next_one > here else "falling" if next_one < here else "steady"
    if asked.trigger is not None and not here:
        way = "waiting_for_insult"
    told = say("scheduled_now", name="{}", way="{}", value="{}").format(
        say.attribute(name), say(way), number(here)
    )
    drop = (
        f'<button class="tool" {do("unschedule", 0, name)} title="{say("unschedule")}" '
        f'aria-label="{say("unschedule")}">{icon("unschedule")}</button>'
    )
    return f'<div class="scheduled"><i class="dot" {hue(name)}></i><span>{told}</span>{drop}</div>'
