"""Small pieces of HTML that the drawings share; every word in them is escaped.

A button carries `data-do`, `data-id` and `data-value`, which come back as an `Action`.
"""

from collections.abc import Iterable
from html import escape

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
    "steer": "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
    "lock": "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
    "unschedule": "M6 6l12 12M18 6L6 18",
}

TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"

# Degrees on the colour circle; what is none of these takes one made from its name.
_HUES = {
    "joy": 42, "surprise": 285, "anger": 4, "sadness": 220, "fear": 260, "disgust": 95,
    "positive": 150, "negative": 330, "neutral": 200, "game": 20, "music": 310, "food": 65,
    "science": 185, "sports": 125, "technology": 235, "travel": 170,
}  # fmt: skip


class Sayer:
    """The escaped sentences of one language."""

    def __init__(self, language: Language):
        self.language = language

    def __call__(self, sentence: str, /, **values: object) -> str:
        return escape(text(self.language, sentence, **values))

    def attribute(self, name: str) -> str:
        """What an attribute is called."""
        return escape(attribute_name(self.language, name))

    def known(self, name: str, otherwise: object) -> str:
        """The sentence of a name that comes from a reply, or `otherwise` where there is none."""
        return self(name) if has_text(name) else escape(str(otherwise))


def hue(attribute: str) -> str:
    """The style attribute that gives a drawing the colour of an attribute, as `var(--c)`."""
    degrees = _HUES.get(attribute, sum(map(ord, attribute)) * 47 % 360)
    return f'style="--hue:{degrees}"'


def hues_css() -> str:
    """Style rules that give each slider of a known attribute its colour, as `--hue`."""
    return "".join(f"#set-{name} {{ --hue: {degrees} }}\n" for name, degrees in _HUES.items())


def number(value: float | None, digits: int = 2) -> str:
    """A number to read, or a dash where there is none."""
    if value is None:
        return "–"
    return f"{value + 0.0:.{digits}f}".replace("-", MINUS)


def do(action: str, about: int = 0, value: object = "") -> str:
    """What makes a tag a button of ours."""
    return f'data-do="{action}" data-id="{about}" data-value="{escape(str(value))}"'


def icon(name: str) -> str:
    """A small picture for a button."""
    return f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_STROKES[name]}"/></svg>'


def tool(
    name: str, say: Sayer, action: str, about: int = 0, value: object = "", is_on: bool = False
) -> str:
    """A button with a picture, named for those who do not see it."""
    pressed = ' aria-pressed="true"' if is_on else ""
    return (
        f'<button class="tool" {do(action, about, value)} title="{say(name)}" '
        f'aria-label="{say(name)}"{pressed}>{icon(name)}</button>'
    )


def section(title: str, body: str, more: str = "") -> str:
    """A part of a panel under its (escaped) title; nothing where there is no body."""
    hint = f'<p class="more">{more}</p>' if more else ""
    return f"<section><h3>{title}</h3>{hint}{body}</section>" if body else ""


def bullets(lines: Iterable[str]) -> str:
    """A list of escaped lines; nothing where there are none."""
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def working(told: str) -> str:
    """Dots that breathe, named for those who do not see them."""
    return (
        f'<span class="dots" role="img" title="{escape(told)}" aria-label="{escape(told)}">'
        "<i></i><i></i><i></i></span>"
    )


def progress(told: str, part: float | None = None) -> str:
    """What is going on, with the part of it that is done, 0 to 1."""
    done = ""
    if part is not None:
        done = f'<span class="bar"><i style="width:{100 * part:.0f}%"></i></span>'
    return (
        '<div class="status" role="status"><span class="dots"><i></i><i></i><i></i></span>'
        f"<span>{escape(told)}</span>{done}</div>"
    )


def notice(told: str) -> str:
    """What else happened, or room for it."""
    return f'<div class="status" role="status">{escape(told)}</div>'


def problem(told: str) -> str:
    """What went wrong, as it was told."""
    return f'<div class="problem" role="alert">{icon("alert")}{escape(told)}</div>'
