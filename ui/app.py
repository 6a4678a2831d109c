"""Wires what Gradio shows to the handlers; decides nothing.

Every event gives the whole picture again: the screen, the three drawings, the composer, and what
the browser keeps. While a reply is made only its progress is sent.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from chatbot.errors import InputError
from ui import drawing, handlers, panel
from ui.handlers import Screen, Service, Visitor, read_action, read_visitor
from ui.texts import LANGUAGES, Language, attribute_name, text

HERE = Path(__file__).parent
_CSS_FILE = HERE / "style.css"
_PRESSES = (HERE / "presses.js").read_text(encoding="utf-8")
_PAGE_SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")

# Not a secret: Gradio asks for one to scramble what lies in the browser, and a random one would
# lose the visitor's chats whenever the program starts again.
_SCRAMBLE = "controllable-chatbot"


def theme() -> gr.themes.Base:
    """Quiet colours and the fonts that the system has: nothing is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=[
            "system-ui",
            "Apple SD Gothic Neo",
            "Malgun Gothic",
            "Noto Sans CJK KR",
            "sans-serif",
        ],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*background_fill_primary",
        body_background_fill_dark="*background_fill_primary",
        block_border_width="0px",
        block_shadow="none",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*background_fill_primary",
        button_secondary_background_fill_hover_dark="*background_fill_primary",
        button_secondary_border_color="*border_color_primary",
        button_border_width="1px",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_border_width="1px",
        checkbox_label_border_width_dark="1px",
        checkbox_label_border_color_dark="*border_color_primary",
        input_background_fill_dark="*background_fill_secondary",
        input_background_fill="*background_fill_secondary",
    )


def launch(service: Service, *, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Opens the page; gives it with its address.

    Args:
        port: None for any free one.
    """
    demo = build(service)
    _, url, _ = demo.queue(max_size=64).launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        share=False,
        ssr_mode=False,
        footer_links=[],
        # Otherwise Gradio keeps all inputs and outputs in the browser, beyond our deletion.
        run_history=False,
        enable_monitoring=False,
        max_file_size="64mb",
        theme=theme(),
        css_paths=_CSS_FILE,
        js=f"() => {{ {_PAGE_SCRIPT} }}",
    )
    return demo, url


def build(service: Service) -> gr.Blocks:
    """The page with its wires."""
    demo = gr.Blocks(
        title=text("en", "title"),
        analytics_enabled=False,
        fill_height=True,
        fill_width=True,
        delete_cache=(3600, 3600),
    )
    with demo:
        page = _Page()
        _wire(page, service, demo)
    return demo


class _Page:
    """The components, in the order in which they are seen."""

    def __init__(self) -> None:
        self.kept = gr.BrowserState(None, storage_key="controllable-chatbot", secret=_SCRAMBLE)
        self.screen = gr.State(Screen())
        self.labels: list[tuple[Any, dict[str, str]]] = []
        """Components with the names of the texts they show."""
        self.settings: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        with gr.Sidebar(width=280, elem_id="left"):
            self._chats()
        with gr.Column(elem_id="main"):
            self._conversation()
        with gr.Sidebar(width=400, position="right", open=False, elem_id="right") as self.right:
            self._panels()

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

    def _panels(self) -> None:
        with gr.Tabs() as self.tabs:
            for name, fill in {
                "steering": self._steering, "reply": self._inspector, "settings": self._numbers,
            }.items():  # fmt: skip
                with gr.Tab(id=name) as tab:
                    fill()
                self._labelled(tab, label=name)

    def _inspector(self) -> None:
        self.inspector = gr.HTML(elem_id="inspector", js_on_load=_PRESSES, apply_default_css=False)

    def _steering(self) -> None:
        topics = gr.CheckboxGroup(panel.topics(), elem_id="topics")
        self._labelled(topics, label="topics", choices="topics")
        self._set("topics", topics, [])
        self._slider("topic_strength", (panel.TOPIC_STRENGTH, -1, 1, 0.05), label="topic_strength")
        for name in panel.MOODS:
            self._slider(name, (0, -1, 1, 0.05), label=f"attribute_{name}")
        self._resets("steer_not", [*panel.MOODS, "topics", "topic_strength"])

    def _numbers(self) -> None:
        for name, bounds in panel.NUMBERS.items():
            self._slider(name, bounds, label=name, info=f"{name}_more")
        seed = gr.Textbox(max_lines=1, max_length=19)  # a Number shows emptiness as 0
        self._labelled(seed, label="seed", info="seed_more")
        self._set("seed", seed, "")
        self._resets("defaults", [*panel.NUMBERS, "seed"])

    def _slider(self, name: str, bounds: tuple[float, float, float, float], **labels: str) -> None:
        value, least, most, step = bounds
        marks = ["two-sided"] if least < 0 else []
        slider = gr.Slider(least, most, value=value, step=step, buttons=[], elem_classes=marks)
        self._labelled(slider, **labels)
        self._set(name, slider, value)

    def _set(self, name: str, component: Any, default: Any) -> None:
        self.settings[name] = component
        self._defaults[name] = default

    def _resets(self, label: str, names: Sequence[str]) -> None:
        """A button that takes these settings back to their defaults."""
        button = self._labelled(gr.Button(size="sm"), value=label)
        defaults = [self._defaults[name] for name in names]
        button.click(
            lambda: defaults, None, [self.settings[name] for name in names],
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip

    def _labelled(self, component: Any, **names: str) -> Any:
        self.labels.append((component, names))
        return component

    @property
    def drawn(self) -> list[Any]:
        """What `_picture` fills."""
        return [
            self.kept, self.screen, self.conversation, self.status, self.chats, self.inspector,
            self.draft, self.editing, self.right, self.tabs,
            self.settings["seed"],
        ]  # fmt: skip


def _wire(page: _Page, service: Service, demo: gr.Blocks) -> None:
    seen = [page.kept, page.screen]

    def picture(kept: Any, screen: Screen | None, **beside: Any) -> list[Any]:
        if screen is None:
            return [gr.skip()] * len(page.drawn)
        return _picture(service, read_visitor(kept), screen, _Beside(**beside))

    def set_to(values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(page.settings, values, strict=True))

    def arrive(kept: Any, request: gr.Request) -> Any:
        visitor = read_visitor(kept, request.headers.get("accept-language", ""))
        screen = handlers.arrive(service, visitor)
        return [
            *_picture(service, visitor, screen, _Beside(draft="")),
            *_labels(page, screen),
            visitor.language,
        ]

    def send(kept: Any, screen: Screen, draft: str, *values: Any) -> Iterator[Any]:
        visitor = read_visitor(kept)
        yield from _pictures(
            service, visitor, screen, handlers.send(service, visitor, screen, draft, set_to(values))
        )

    def press(kept: Any, screen: Screen, event: gr.EventData, *values: Any) -> Iterator[Any]:
        """Of a button in the conversation or in the inspector."""
        visitor = read_visitor(kept)
        try:
            action = read_action(event._data)
        except InputError:
            yield picture(kept, screen)
            return
        if action.do == "start":
            steps = handlers.send(service, visitor, screen, action.value, set_to(values))
            yield from _pictures(service, visitor, screen, steps)
        elif action.do == "retry":
            steps = handlers.retry(service, visitor, screen, action.id, set_to(values))
            yield from _pictures(service, visitor, screen, steps)
        elif action.do == "seed":
            yield picture(kept, screen, seed=action.value, tab="settings")
        else:
            after = handlers.on_message(service, visitor, screen, action)
            draft = None
            if after is not None and after.editing_id != screen.editing_id:
                draft = handlers.edited_text(service, visitor, after)
            tab = "reply" if action.do == "inspect" else None
            yield picture(kept, after, draft=draft, tab=tab)

    def press_chat(kept: Any, screen: Screen, event: gr.EventData) -> Any:
        try:
            action = read_action(event._data)
        except InputError:
            return picture(kept, screen)
        after = handlers.on_conversation(service, read_visitor(kept), screen, action)
        leaves_edit = after is not None and after.editing_id != screen.editing_id
        return picture(kept, after, draft="" if leaves_edit else None)

    def act(
        handler: Callable[..., Screen | None], clears_draft: bool = False
    ) -> Callable[..., Any]:
        def run(kept: Any, screen: Screen, *values: Any) -> Any:
            after = handler(service, read_visitor(kept), screen, *values)
            return picture(kept, after, draft="" if clears_draft else None)

        return run

    def speak(kept: Any, screen: Screen, language: Any) -> Any:
        after = handlers.speak(service, read_visitor(kept), screen, language)
        return [*picture(kept, after), *_labels(page, after or screen)]

    def bring_in(kept: Any, screen: Screen, path: str) -> Any:
        try:
            after = handlers.bring_in(service, read_visitor(kept), screen, path)
        finally:
            Path(path).unlink()  # Gradio's copy, or the chats would outlive their deletion
        return picture(kept, after, draft="")

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    light: dict[str, Any] = {**private, "queue": True, "concurrency_limit": None}
    relabelled = [page.brand, *(component for component, _ in page.labels), page.editing_told]

    demo.load(arrive, [page.kept], [*page.drawn, *relabelled, page.language], **light)
    page.draft.submit(
            send, [*seen, page.draft, *page.settings.values()], page.drawn, api_name="send",
            show_progress="hidden", concurrency_limit=None,
        )  # fmt: skip
    page.conversation.click(press, [*seen, *page.settings.values()], page.drawn, **light)
    page.inspector.click(press, [*seen, *page.settings.values()], page.drawn, **light)
    page.draft.stop(
        lambda kept, screen: picture(kept, handlers.stop(service, screen)), seen, page.drawn,
        **light,
    )  # fmt: skip
    page.leave_edit.click(act(handlers.leave_edit, clears_draft=True), seen, page.drawn, **light)
    page.new.click(act(handlers.begin, clears_draft=True), seen, page.drawn, **light)
    page.chats.click(press_chat, seen, page.drawn, **light)
    # Not `input`, which comes before the value that it tells of.
    page.search.change(
        act(handlers.look_for), [*seen, page.search], page.drawn,
        trigger_mode="always_last", **light,
    )  # fmt: skip
    page.language.input(speak, [*seen, page.language], [*page.drawn, *relabelled], **light)
    page.bring_in.upload(bring_in, [*seen, page.bring_in], page.drawn, **light)
    exported = page.take_out.click(
        lambda kept: handlers.take_out(service, read_visitor(kept)), [page.kept], page.exported,
        **light,
    )  # fmt: skip
    save = "(lines) => window.saveChats(lines)"
    exported.then(None, [page.exported], None, js=save, **private)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What an event changes beside the screen; None leaves it as it is."""

    draft: str | None = None
    seed: str | None = None
    tab: str | None = None


def _picture(service: Service, visitor: Visitor, screen: Screen, beside: _Beside) -> list[Any]:
    """Values of `_Page.drawn`."""
    chats = service.store.of(visitor.id)
    is_busy = screen.answering_id is not None
    composer: dict[str, Any] = {"submit_btn": not is_busy, "stop_btn": is_busy}
    if beside.draft is not None:
        composer["value"] = beside.draft
    now = Visitor(visitor.id, screen.conversation_id, screen.language)
    return [
        asdict(now),
        screen,
        drawing.conversation_html(chats, screen),
        drawing.status_html(screen),
        drawing.list_html(chats, screen),
        drawing.inspector_html(chats, screen),
        gr.update(**composer),
        gr.update(visible=screen.editing_id is not None),
        gr.skip() if beside.tab is None else gr.update(open=True),
        gr.skip() if beside.tab is None else gr.update(selected=beside.tab),
        gr.skip() if beside.seed is None else beside.seed,
    ]


def _pictures(
    service: Service, visitor: Visitor, before: Screen, steps: Generator[handlers.Step, None, None]
) -> Iterator[list[Any]]:
    """One picture per step; between two steps of one reply only the progress is new."""
    try:
        for screen, draft in steps:
            if screen.answering_id is not None and screen.answering_id == before.answering_id:
                skip = gr.skip()
                yield [skip, screen, skip, drawing.status_html(screen), *[skip] * 7]
            else:
                yield _picture(service, visitor, screen, _Beside(draft))
            before = screen
    finally:
        steps.close()


def _labels(page: _Page, screen: Screen) -> list[Any]:
    """Updates for what carries a text, in the language of the screen."""
    language = screen.language
    return [
        f"<b>{text(language, 'title')}</b>",
        *(gr.update(**_said(language, names)) for _, names in page.labels),
        text(language, "editing"),
    ]


def _said(language: Language, names: dict[str, str]) -> dict[str, Any]:
    """Properties with the texts of their names."""
    said: dict[str, Any] = {property_: text(language, name) for property_, name in names.items()}
    if "choices" in said:
        said["choices"] = [(attribute_name(language, name), name) for name in panel.topics()]
    return said
