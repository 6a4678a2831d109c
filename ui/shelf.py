"""Presets as a visitor meets them: the shelf's, which all see, and the visitor's own.

The visitor's own lie in the browser, so that nobody else sees them; as JSON they can be given to
anybody, and work with the command line and the HTTP API.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chatbot.errors import ChatbotError, InputError
from chatbot.presets import MAX_BYTES, Preset
from ui.panel import Panel, as_preset, with_preset

MAX_OWN = 50

Own = dict[str, str]
"""Name -> the preset as JSON."""


def read_own(kept: Any) -> Own:
    """The presets in what a browser kept; what is none of ours is left out."""
    own: Own = {}
    for name, value in kept.items() if isinstance(kept, Mapping) else ():
        try:
            if isinstance(value, str) and len(own) < MAX_OWN and Preset.from_json(value):
                own[str(name)] = value
        except ChatbotError:
            continue
    return own


def names(shelf: Sequence[Preset], own: Own) -> list[str]:
    """Of all presets; one's own takes the place of its namesake."""
    return list(dict.fromkeys([*(preset.name for preset in shelf), *own]))


def find(shelf: Sequence[Preset], own: Own, name: Any) -> Preset:
    """The preset of a name.

    Raises:
        InputError: there is none.
    """
    if name in own:
        return Preset.from_json(own[name])
    for preset in shelf:
        if preset.name == name:
            return preset
    raise InputError(f"no preset named {name!r:.80}; known: {', '.join(names(shelf, own))}")


def current(shelf: Sequence[Preset], own: Own, panel: Panel) -> str | None:
    """The name of the preset that would leave the panel as it is; None where there is none."""
    for name in names(shelf, own):
        if with_preset(panel, find(shelf, own, name)) == dict(panel):
            return name
    return None


def saved(own: Own, panel: Panel, name: str) -> Own:
    """One's own presets with the panel under a name.

    Raises:
        InputError: the name or the panel cannot be used, or there are too many.
    """
    return kept(own, as_preset(panel, name.strip()))


def kept(own: Own, preset: Preset) -> Own:
    """One's own presets with this one."""
    if len(own.keys() - {preset.name}) >= MAX_OWN:
        raise InputError(f"there are {MAX_OWN} presets of your own already; delete one")
    return {**own, preset.name: preset.to_json()}


def deleted(own: Own, name: str) -> Own:
    """One's own presets without one.

    Raises:
        InputError: it is none of one's own.
    """
    if name not in own:
        raise InputError(f"{name!r:.80} is no preset of your own; only these can be deleted")
    return {other: value for other, value in own.items() if other != name}


def read_json(typed: str) -> Preset:
    """The preset of a text.

    Raises:
        InputError: it is none; the message says what was expected.
    """
    if len(typed.encode("utf-8", "replace")) > MAX_BYTES:
        raise InputError(f"the text is longer than {MAX_BYTES} bytes; that is no preset")
    return Preset.from_json(typed)
