"""The components of the page, in the order in which they are seen; nothing is wired here."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ui import panel, scheduling
from ui.comparing import Comparison
from ui.handlers import Screen
from ui.texts import LANGUAGES, Language, attribute_name, has_text, text

_PRESSES = Path(__file__).with_name("presses.js").read_text(encoding="utf-8")

# Not a secret: Gradio asks for one to scramble what lies in the browser, and a random one would
# lose the visitor's chats whenever the program starts again.
_SCRAMBLE = "controllable-chatbot"


Awaited = tuple[int, tuple[int, ...]]
"""When the page was drawn, and the numbers of the replies that were on their way then."""


class Page:
    """The components, in the order in which they are seen."""

    def __init__(self, *, is_labelling: bool = False) -> None:
        """`is_labelling` is whether there is a tab for labels."""
        self.kept = gr.BrowserState(None, storage_key="controllable-chatbot", secret=_SCRAMBLE)
        self.kept_panel = gr.BrowserState(
            None, storage_key="controllable-chatbot-panel", secret=_SCRAMBLE
        )
        self.screen = gr.State(Screen())
        self.awaited = gr.State((0, ()))
        self.comparison = gr.State(Comparison())
        self.labels: list[tuple[Any, dict[str, str]]] = []
        """Components with the names of the texts they show."""
        self.settings: dict[str, Any] = {}
        self.resets: list[tuple[Any, Sequence[str]]] = []
        """Buttons with the settings that they take back to their defaults."""
        self._defaults = panel.defaults()
        with gr.Sidebar(width=280, elem_id="left"):
            self._chats()
        with gr.Column(elem_id="main"):
            self._conversation()
        with gr.Sidebar(width=400, position="right", open=False, elem_id="right") as self.right:
            self._panels(is_labelling)

    def _chats(self) -> None:
        self.brand = gr.HTML(elem_id="brand", apply_default_css=False)
        self.new = self._labelled(gr.Button(elem_id="new", size="md"), value="new")
        self.search = self._labelled(
            gr.Textbox(show_label=False, container=False, elem_id="search"),
            placeholder="search", label="search",
        )  # fmt: skip
        self.chats = gr.HTML(elem_id="chats", js_on_load=_PRESSES, apply_default_css=False)
        with gr.Row(elem_id="exchange"):
            self.take_out = self._labelled(gr.Button(size="sm", min_width=80), value="export")
            self.bring_in = self._labelled(
                gr.UploadButton(
                    "…", file_types=[".jsonl"], type="filepath", size="sm", min_width=80
                ),
                label="import",
            )
        choices = [(name, language) for language, name in LANGUAGES.items()]
        self.language = self._labelled(
            gr.Radio(choices, value="en", show_label=False, container=False, elem_id="language"),
            label="language",
        )
        self.exported = gr.Textbox(visible="hidden")

    def _conversation(self) -> None:
        with gr.Column(elem_id="scroller"), gr.Column(elem_id="scrolled"):
            self.conversation = gr.HTML(
                elem_id="conversation", js_on_load=_PRESSES, apply_default_css=False
            )
            self.progress = gr.HTML(elem_id="progress", apply_default_css=False)
            self.status = gr.HTML(elem_id="status", apply_default_css=False)
        with gr.Column(elem_id="composer"):
            with gr.Row(visible=False, elem_id="editing") as self.editing:
                self.editing_told = gr.HTML()
                self.leave_edit = self._labelled(gr.Button(size="sm", min_width=80), value="cancel")
            self.draft = self._labelled(
                gr.Textbox(
                    show_label=False, container=False, lines=1, max_lines=8, submit_btn=True,
                    autofocus=True, max_length=100_000, elem_id="draft",
                ),
                placeholder="message", label="message",
            )  # fmt: skip
            self.asked = gr.HTML(elem_id="asked", apply_default_css=False)

    def _panels(self, is_labelling: bool) -> None:
        panels = {
            "steering": self._steering, "reply": self._inspector, "compare": self._comparing,
            "settings": self._numbers,
        }  # fmt: skip
        if is_labelling:
            panels["label"] = self._labelling
        with gr.Tabs() as self.tabs:
            for name, fill in panels.items():
                with gr.Tab(id=name) as tab:
                    fill()
                self._labelled(tab, label=name)

    def _inspector(self) -> None:
        self.inspector = gr.HTML(elem_id="inspector", js_on_load=_PRESSES, apply_default_css=False)

    def _labelling(self) -> None:
        self.labelling = gr.HTML(elem_id="label", js_on_load=_PRESSES, apply_default_css=False)

    def _steering(self) -> None:
        self.mix = gr.HTML(elem_id="mix", apply_default_css=False)
        self.preset = self._labelled(gr.Radio([], value=None, elem_id="preset"), label="preset")
        topics = gr.CheckboxGroup(choices("en", "topics"), elem_id="topics")
        self._labelled(topics, label="topics", choices="topics")
        self._set("topics", topics)
        self._slider("topic_strength", (panel.TOPIC_STRENGTH, -1, 1, 0.05), label="topic_strength")
        self._labelled(gr.HTML(elem_classes="heading", apply_default_css=False), value="moods")
        for name in panel.MOODS:
            least = 0 if name in panel.ONE_SIDED else -1
            self._slider(name, (0, least, 1, 0.05), label=f"attribute_{name}")
        self._resets("steer_not", [*panel.MOODS, "topics", "topic_strength", "schedule", "base"])
        with self._folded("presets"):
            self._presets()
        with self._folded("schedule"):
            self._schedule()
        with self._folded("rules"):
            rules = gr.CheckboxGroup(choices("en", "rules"), show_label=False, elem_id="rules")
            self._labelled(rules, info="rules_more", choices="rules")
            self._set("rules", rules)
        with self._folded("how"):
            mode = gr.Radio(choices("en", "modes"), value="hidden")
            self._labelled(mode, label="mode", info="mode_more", choices="modes")
            self._set("mode", mode)
            feedback = gr.Checkbox(False)
            self._labelled(feedback, label="feedback", info="feedback_more")
            self._set("feedback", feedback)
        self._set("base", gr.Textbox(visible="hidden"))

    def _presets(self) -> None:
        self.preset_told = gr.HTML(apply_default_css=False)
        with gr.Row(elem_classes="joined"):
            self.preset_name = self._labelled(
                gr.Textbox(show_label=False, container=False, max_length=60, scale=3, min_width=80),
                placeholder="preset_name", label="preset_name",
            )  # fmt: skip
            self.preset_save = self._button("preset_save")
            self.preset_delete = self._button("preset_delete")
        self.preset_json = self._labelled(
            gr.Textbox(lines=3, max_lines=8, buttons=["copy"], elem_id="preset-json"),
            label="preset_json", info="preset_json_more",
        )  # fmt: skip
        with gr.Row(elem_classes="joined"):
            self.preset_use = self._button("preset_use")
            self.preset_download = self._button("preset_download")

    def _schedule(self) -> None:
        self.schedule = gr.HTML(elem_id="schedule", js_on_load=_PRESSES, apply_default_css=False)
        with gr.Row(elem_classes="joined"):
            attribute = gr.Dropdown(choices("en", "attributes"), value="anger", min_width=120)
            self._labelled(attribute, label="schedule_attribute", choices="attributes")
            kind = gr.Dropdown(choices("en", "kinds"), value="ramp", min_width=120)
            self._labelled(kind, label="schedule_kind", choices="kinds")
        marks = ["two-sided", "in-line"]
        start = gr.Slider(-1, 1, value=0, step=0.05, buttons=[], elem_classes=marks)
        self._labelled(start, label="schedule_start")
        end = gr.Slider(-1, 1, value=1, step=0.05, buttons=[], elem_classes=marks)
        self._labelled(end, label="schedule_end")
        turns = gr.Slider(1, 20, value=6, step=1, buttons=[])
        self._labelled(turns, label="schedule_turns", info="schedule_turns_more")
        self.plan = [attribute, kind, start, end, turns]
        """In the order of `scheduling.Plan`."""
        self.schedule_add = self._button("schedule_add")
        self.schedule_told = gr.HTML(apply_default_css=False)
        self._set("schedule", gr.Textbox(visible="hidden"))

    def _comparing(self) -> None:
        hint = gr.HTML(elem_classes="hint", apply_default_css=False)
        self._labelled(hint, value="compare_hint")
        self.compare = self._button("compare_base")
        with gr.Row(elem_classes="joined"):
            self.swept = gr.Dropdown(
                choices("en", "attributes"), value="joy", min_width=120, elem_id="swept"
            )
            self._labelled(self.swept, label="sweep_attribute", choices="attributes")
            self.sweep = self._button("sweep")
        self.compare_stop = self._labelled(
            gr.Button(size="sm", visible=False), value="compare_stop"
        )
        self.compared = gr.HTML(elem_id="compared", apply_default_css=False)

    def _numbers(self) -> None:
        for name, bounds in panel.NUMBERS.items():
            self._slider(name, bounds, label=name, info=f"{name}_more")
        seed = gr.Textbox(max_lines=1, max_length=19)  # a Number shows emptiness as 0
        self._labelled(seed, label="seed", info="seed_more")
        self._set("seed", seed)
        self.settings_told = gr.HTML(elem_id="settings-told", apply_default_css=False)
        self._resets("defaults", [*panel.NUMBERS, "seed"])
        self.theme = gr.Radio(choices("en", "themes"), value="system", elem_id="theme")
        self._labelled(self.theme, label="theme", choices="themes")

    def _folded(self, name: str) -> Any:
        return self._labelled(gr.Accordion("", open=False, elem_id=f"fold-{name}"), label=name)

    def _button(self, name: str) -> Any:
        return self._labelled(gr.Button(size="sm", min_width=60, scale=1), value=name)

    def _slider(self, name: str, bounds: tuple[float, float, float, float], **labels: str) -> None:
        value, least, most, step = bounds
        marks = ["two-sided"] if least < 0 else []
        if "info" not in labels:
            marks.append("in-line")
        slider = gr.Slider(
            least, most, value=value, step=step, buttons=[], elem_id=f"set-{name}",
            elem_classes=marks,
        )  # fmt: skip
        self._labelled(slider, **labels)
        self._set(name, slider)

    def _set(self, name: str, component: Any) -> None:
        self.settings[name] = component

    def _resets(self, label: str, names: Sequence[str]) -> None:
        """A button that takes these settings back to their defaults."""
        self.resets.append((self._labelled(gr.Button(size="sm"), value=label), names))

    def _labelled(self, component: Any, **names: str) -> Any:
        self.labels.append((component, names))
        return component

    @property
    def panel_drawn(self) -> list[Any]:
        """What `panel_picture` fills."""
        return [
            self.kept_panel, self.settings_told, self.mix, self.asked, self.schedule,
            self.preset_json, self.preset,
        ]  # fmt: skip

    @property
    def drawn(self) -> list[Any]:
        """What `_picture` fills."""
        return [
            self.kept, self.screen, self.awaited, self.conversation, self.progress, self.status,
            self.chats, self.inspector, self.draft, self.editing, self.right, self.tabs,
            self.settings["seed"],
        ]  # fmt: skip


def labels_of(page: Page, screen: Screen) -> list[Any]:
    """Updates for what carries a text, in the language of the screen."""
    language = screen.language
    return [
        _brand(language),
        *(gr.update(**_said(language, names)) for _, names in page.labels),
        text(language, "editing"),
    ]


def _brand(language: Language) -> str:
    """The title, with the names of buttons that Gradio draws and leaves unnamed, for `page.js`."""
    named = " ".join(
        f'data-{name}="{escape(text(language, name))}"'
        for name in ("chats", "panel", "send", "stop", "down", "bot", "copied", "lost")
    )
    return f'<b data-language="{language}" {named}>{escape(text(language, "title"))}</b>'


def _said(language: Language, names: dict[str, str]) -> dict[str, Any]:
    """Properties with the texts of their names."""
    said: dict[str, Any] = {
        property_: text(language, name)
        for property_, name in names.items()
        if property_ != "choices"
    }
    if "choices" in names:
        said["choices"] = choices(language, names["choices"])
    return said


def choices(language: Language, kind: str) -> list[tuple[str, str]]:
    """What can be chosen of a kind, with the words for it."""
    attributes = {
        "topics": panel.topics(),
        "attributes": (*panel.MOODS, *panel.topics()),
    }
    if kind in attributes:
        return [(attribute_name(language, name), name) for name in attributes[kind]]
    prefix, names = {
        "rules": ("rule", panel.rules()),
        "modes": ("mode", panel.MODES),
        "kinds": ("kind", scheduling.KINDS),
        "themes": ("theme", ("system", "light", "dark")),
    }[kind]
    known = {name: f"{prefix}_{name}" for name in names}
    return [(text(language, key) if has_text(key) else name, name) for name, key in known.items()]
