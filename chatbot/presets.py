"""Presets: named controls, with or without settings of sampling and ranking, as JSON.

    {"name": "cheerful", "controls": {"strengths": {"joy": 0.6}}, "sampling": {"temperature": 0.8}}

Some are shipped; a person's own ones are files in the data folder, one each. Knows nothing of
models: whether the attributes exist is seen when a turn starts.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from chatbot.controls import Controls, Curve, GradientSettings, Schedule
from chatbot.errors import InputError
from chatbot.folders import data_folder
from chatbot.types import Ranking, Sampling

MAX_BYTES = 100_000

# Also the name of a file, so nothing that leads out of the folder.
_NAME = re.compile(r"\w(?:[\w -]{0,58}\w)?")


@dataclass(frozen=True, slots=True)
class Preset:
    """Controls under a name; None where sampling or ranking are left as they are."""

    name: str
    controls: Controls
    sampling: Sampling | None = None
    ranking: Ranking | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InputError(
                f"the name of the preset is {self.name!r:.80}; give up to 60 letters, digits, "
                "spaces, _ or -, beginning and ending with a letter or digit"
            )

    def to_json(self) -> str:
        """The preset as text, for `from_json`."""
        record: dict[str, Any] = {"name": self.name, "controls": controls_to_dict(self.controls)}
        for part in ("sampling", "ranking"):
            if (values := getattr(self, part)) is not None:
                record[part] = asdict(values)
        return json.dumps(record, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Preset":
        """The preset of `to_json`, or one written by hand in the same form.

        Raises:
            InputError: it is none; the message says what was expected.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is no preset: no JSON ({error})") from error
        return cls.from_dict(record)

    @classmethod
    def from_dict(cls, record: Any) -> "Preset":
        """The preset of plain values, of which those left out are the defaults.

        Raises:
            InputError: they are none; the message says what was expected.
        """
        given = _known(record, "preset", ("name", "controls", "sampling", "ranking"))
        sampling, ranking = given.get("sampling"), given.get("ranking")
        return cls(
            name=given.get("name", "unnamed"),
            controls=controls_from_dict(given.get("controls", {})),
            sampling=None if sampling is None else Sampling(**_settings(sampling, Sampling)),
            ranking=None if ranking is None else Ranking(**_settings(ranking, Ranking)),
        )


SHIPPED: tuple[Preset, ...] = (
    Preset("cheerful", Controls({"joy": 0.6, "positive": 0.4})),
    Preset("calm", Controls({"anger": -0.8, "fear": -0.5, "disgust": -0.5, "surprise": -0.5})),
    Preset("gloomy", Controls({"sadness": 0.6, "joy": -0.5})),
    Preset("rising anger", Controls(schedule=Schedule.ramp("anger", 0.0, 1.0, turns=6))),
    Preset("gamer", Controls({"game": 0.5, "joy": 0.3, "surprise": 0.2})),
)


def presets_folder() -> Path:
    """Where a person's own presets lie: `presets` beside the conversations."""
    return data_folder() / "presets"


def list_presets(folder: Path | None = None) -> list[Preset]:
    """The shipped presets, then the person's own, which take the place of one of the same name.

    Args:
        folder: None for `presets_folder()`.

    Raises:
        InputError: a file in the folder is no preset; the message names it.
    """
    presets = {preset.name: preset for preset in SHIPPED}
    for file in sorted((folder or presets_folder()).glob("*.json")):
        preset = load_preset(file)
        presets[preset.name] = preset
    return list(presets.values())


def resolve_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset of a name.

    Raises:
        InputError: there is none; the message lists the known ones.
    """
    known = {preset.name: preset for preset in list_presets(folder)}
    if name not in known:
        raise InputError(f"no preset named {name!r:.80}; known: {', '.join(known)}")
    return known[name]


def load_preset(file: Path) -> Preset:
    """The preset of a file.

    Raises:
        InputError: it cannot be read; the message names the file.
    """
    try:
        with file.open("rb") as source:
            return Preset.from_json(source.read(MAX_BYTES).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a preset: {error}") from error
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def save_preset(preset: Preset, folder: Path | None = None) -> Path:
    """Writes the preset, in the place of one of the same name; gives the file.

    Raises:
        InputError: it cannot be written.
    """
    folder = folder or presets_folder()
    file = folder / f"{preset.name}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = file.with_suffix(".part")
        written.write_text(preset.to_json() + "\n", encoding="utf-8")
        written.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error
    return file


def merged(base: Controls, over: Controls) -> Controls:
    """The controls of a preset, changed by those given beside it, attribute by attribute.

    Raises:
        InputError: `over` gives an attribute a strength and a schedule.
    """
    strengths = dict(base.strengths) | dict(over.strengths)
    curves: dict[str, Curve] = {}
    for schedule in (base.schedule, over.schedule):
        curves |= schedule.curves if schedule else {}
    if over.schedule is not None:
        strengths = {name: v for name, v in strengths.items() if name not in over.schedule.curves}
    curves = {name: curve for name, curve in curves.items() if name not in strengths}
    merged = replace(base, strengths=strengths, schedule=Schedule(curves) if curves else None)
    changed = {name: getattr(over, name) for name in _changed(over)}
    return replace(merged, **changed)


def controls_to_dict(controls: Controls) -> dict[str, Any]:
    """Plain values for `controls_from_dict`; what is at its default is left out."""
    record: dict[str, Any] = {"strengths": dict(controls.strengths)}
    if controls.schedule is not None:
        record["schedule"] = json.loads(controls.schedule.to_json())
    for name in _changed(controls):
        value = getattr(controls, name)
        record[name] = asdict(value) if isinstance(value, GradientSettings) else value
    return record


def controls_from_dict(record: Any) -> Controls:
    """Controls of plain values: `{name: strength}`, or their fields by name.

    Raises:
        InputError: they are none; the message says what was expected.
    """
    names = [one.name for one in fields(Controls)]
    if isinstance(record, Mapping) and not record.keys() & set(names):
        return Controls(_strengths(record))
    given = dict(_known(record, "controls", names))
    given["strengths"] = _strengths(given.get("strengths", {}))
    if given.get("schedule") is not None:
        given["schedule"] = Schedule.from_json(json.dumps(given["schedule"]))
    try:
        if isinstance(given.get("gradient"), Mapping):
            given["gradient"] = GradientSettings(**_settings(given["gradient"], GradientSettings))
        return Controls(**given)
    except TypeError as error:  # a spread that is a number, a limit that is a text
        raise InputError(f"the controls cannot be read: {error}") from error


def _changed(controls: Controls) -> list[str]:
    """Fields beside the strengths and the schedule that are not at their default."""
    defaults = Controls()
    others = [one.name for one in fields(Controls) if one.name not in ("strengths", "schedule")]
    return [name for name in others if getattr(controls, name) != getattr(defaults, name)]


def _strengths(given: Any) -> Mapping[str, float]:
    if not isinstance(given, Mapping):
        raise InputError(f'the strengths are {given!r:.80}; give an object such as {{"joy": 0.5}}')
    return given


def _settings(given: Any, kind: type) -> Mapping[str, Any]:
    return _known(given, kind.__name__.lower(), [one.name for one in fields(kind)])


def _known(given: Any, what: str, names: Any) -> Mapping[str, Any]:
    """The object, refused where it is none or has other keys than `names`."""
    if not isinstance(given, Mapping):
        raise InputError(f"the {what} is {given!r:.80}; give an object with {', '.join(names)}")
    unknown = [str(key) for key in given if key not in names]
    if unknown:
        raise InputError(f"the {what} has no {unknown[0]!r:.80}; known: {', '.join(names)}")
    return given
