"""Examples of what must not be said and of what may: readable files, one line each.

    {"side": "unethical", "text": "Yes, they all deserve it.", "context": "They got hurt."}

`text` is the reply, `context` the turn it answers, where it needs one. The shipped files lie in
`exemplars/{en,ko}/`, named by their category. Knows nothing of vectors.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chatbot.errors import InputError

Side = Literal["unethical", "ethical"]
Category = Literal[
    "hate", "race", "gender", "religion", "politics", "sexual", "crime", "violence", "self-harm",
    "insult", "biased-opinion", "unsafe-advice", "other",
]  # fmt: skip
CATEGORIES: tuple[Category, ...] = get_args(Category)

FOLDER = Path(__file__).with_name("exemplars")


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One example.

    Attributes:
        text: of the reply.
        context: the turn it answers; empty where the reply speaks for itself.
    """

    side: Side
    category: Category
    text: str
    context: str = ""


class _Line(BaseModel):
    """What a line of a file may hold."""

    model_config = ConfigDict(extra="forbid")

    side: Side
    text: str = Field(min_length=1, max_length=2_000)
    context: str = Field(default="", max_length=2_000)
    category: Category | None = None


def read_exemplars(file: str | Path) -> list[Exemplar]:
    """The examples of a file; the category is the line's, or the file's name, or "other".

    Raises:
        InputError: the file cannot be read, or a line is no example; the message names the line.
    """
    file = Path(file)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}; give a UTF-8 file of JSON lines") from error
    named: Category = next((one for one in CATEGORIES if one == file.stem), "other")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = _Line.model_validate(json.loads(line))
        except (ValidationError, json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{file}, line {number}: {_why(error)}") from error
        found.append(Exemplar(given.side, given.category or named, given.text, given.context))
    if not found:
        raise InputError(f'{file} holds no examples; a line is {{"side": "unethical", "text": …}}')
    return found


def _why(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{error}; expected one JSON object"
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return (
        f"{key or 'the line'}: {first['msg']}; a line has side (unethical or ethical), text, and "
        f"may have context and category ({', '.join(CATEGORIES)})"
    )


@cache
def shipped_exemplars() -> tuple[Exemplar, ...]:
    """Those of the folder beside this module, both languages."""
    files = sorted(FOLDER.glob("*/*.jsonl"))
    return tuple(exemplar for file in files for exemplar in read_exemplars(file))
