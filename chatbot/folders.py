"""Knows where this program keeps a person's own files."""

import os
from pathlib import Path


def data_folder() -> Path:
    """`controllable-chatbot` in `$XDG_DATA_HOME`, or in `~/.local/share`; made by who writes."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "controllable-chatbot"
