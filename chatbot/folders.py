"""Knows where this program keeps a person's own files."""

import os
from pathlib import Path


def data_folder() -> Path:
    """`controllable-chatbot` in `$XDG_DATA_HOME`, or in `~/.local/share`; made by who writes."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "controllable-chatbot"


def own_folder(kind: str, digest: str) -> Path:
    """Where lies what was trained on this machine for the model of a digest."""
    return data_folder() / kind / digest[:16]
