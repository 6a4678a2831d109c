"""Writes a folder or a file whole or not at all, whatever ends the program meanwhile."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from chatbot.errors import ChatbotError


def replace_folder(target: Path, fill: Callable[[Path], object]) -> None:
    """Has `fill(folder)` fill a fresh folder, then puts it in the place of `target`.

    Raises:
        ChatbotError: the disk is full or not writable; what was there before stays.
    """
    target = target.absolute()
    fresh, old = _beside(target, "new"), _beside(target, "old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        settle_folder(target)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            fill(fresh)
            for file in fresh.iterdir():
                _to_disk(file)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        _to_disk(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(target, error) from error


def replace_file(target: Path, content: bytes) -> None:
    """Puts a file of that content in the place of `target`.

    Raises:
        ChatbotError: as of `replace_folder`.
    """
    fresh = _beside(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        _to_disk(fresh)
        fresh.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error


def settle_folder(target: Path) -> None:
    """Puts back what was there before, if the program ended between the two renames.

    For who reads a folder that `replace_folder` writes again and again.
    """
    old = _beside(target.absolute(), "old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _cannot_write(target: Path, error: OSError) -> ChatbotError:
    return ChatbotError(
        f"cannot write {target}: {error.strerror or error}; what was there before is kept. "
        "Make room or give another name, then run the same command again"
    )


def _beside(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
