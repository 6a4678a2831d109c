"""Wires what Gradio shows to the handlers; decides nothing.

Every event gives the whole picture again: the screen, the three drawings, the composer, and what
the browser keeps. While a reply is made only its progress is sent.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from chatbot.errors import InputError
from chatbot.types import MAX_CANDIDATES, MAX_NEW_TOKENS, Ranking, Sampling
from ui import drawing, handlers
from ui.handlers import Screen, Service, Visitor, read_action, read_visitor
from ui.texts import LANGUAGES, text

HERE = Path(__file__).parent
CSS_FILE = HERE / "style.css"
PAGE_SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")

# Not a secret: Gradio asks for one to scramble what lies in the browser, and a random one would
# lose the visitor's chats whenever the program starts again.
_SCRAMBLE = "controllable-chatbot"

_MAX_TOP_K = 1000
_MAX_TEMPERATURE = 2.0


def theme() -> gr.themes.Base:
    """Quiet colours and the fonts that the system has: nothing is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans CJK KR", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*background_fill_primary",
        body_background_fill_dark="*background_fill_primary",
        block_border_width="0px",
        block_shadow="none",
        input_background_fill="*background_fill_secondary",
    )


def launch(
    service: Service, *, host: str, port: int | None, prevent_thread_lock: bool = True
) -> tuple[gr.Blocks, str]:
    """Opens the page; gives it with its address.

    Args:
        port: None for any free one.
    """
    demo = build(service)
    _, url, _ = demo.queue(max_size=64).launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=prevent_thread_lock,
        quiet=True,
        share=False,
        ssr_mode=False,
        footer_links=[],
        # Otherwise Gradio keeps all inputs and outputs in the browser, beyond our deletion.
        run_history=False,
        enable_monitoring=False,
        max_file_size="64mb",
        theme=theme(),
        css_paths=CSS_FILE,
        js=f"() => {{ {PAGE_SCRIPT} }}",
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
        with gr.Sidebar(width=280, elem_id="left"):
            self._chats()
        with gr.Column(elem_id="main"):
            self._conversation()
        with gr.Sidebar(width=400, position="right", open=False, elem_id="right") as self.right:
            self._panels()

    def _chats(self) -> None:
        self.brand = gr.HTML(elem_id="brand")
        self.new = self._labelled(gr.Button(elem_id="new", size="md"), value="new")
        self.search = self._labelled(
            gr.Textbox(show_label=False, container=False, elem_id="search"),
            placeholder="search", label="search",
        )  # fmt: skip
        self.chats = gr.HTML(elem_id="chats", js_on_load=_PRESSES)
        with gr.Row(elem_id="exchange"):
            self.take_out = self._labelled(gr.Button(size="sm"), value="export")
            self.bring_in = self._labelled(
                gr.UploadButton("…", file_types=[".jsonl"], type="filepath", size="sm"),
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
            self.conversation = gr.HTML(elem_id="conversation", js_on_load=_PRESSES)
            self.status = gr.HTML(elem_id="status")
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
        with gr.Tabs():
            with gr.Tab(id="reply") as tab:
                self.inspector = gr.HTML(elem_id="inspector", js_on_load=_PRESSES)
            self._labelled(tab, label="reply")
            with gr.Tab(id="settings") as tab:
                self._settings()
            self._labelled(tab, label="settings")

    def _settings(self) -> None:
        sampling, ranking = Sampling(), Ranking()
        bounds = {  # name: (value, least, most, step)
            "candidates": (sampling.candidates, 1, MAX_CANDIDATES, 1),
            "temperature": (sampling.temperature, 0, _MAX_TEMPERATURE, 0.01),
            "top_k": (sampling.top_k, 0, _MAX_TOP_K, 1),
            "top_p": (sampling.top_p, 0.01, 1, 0.01),
            "max_new_tokens": (sampling.max_new_tokens, 1, MAX_NEW_TOKENS, 1),
            "novelty": (ranking.novelty, 0, 2, 0.05),
        }
        self.settings: list[Any] = []
        for name, (value, least, most, step) in bounds.items():
            slider = gr.Slider(least, most, value=value, step=step, label=name)
            self.settings.append(self._labelled(slider, label=name, info=f"{name}_more"))
        self.seed = self._labelled(
            gr.Number(None, precision=0, minimum=0, label="seed"), label="seed", info="seed_more"
        )
        self.settings.append(self.seed)
        self.defaults = [value for value, *_ in bounds.values()] + [None]
        self.reset = self._labelled(gr.Button(size="sm"), value="reset")

    def _labelled(self, component: Any, **names: str) -> Any:
        self.labels.append((component, names))
        return component

    @property
    def drawn(self) -> list[Any]:
        """What `_picture` fills."""
        return [
            self.kept, self.screen, self.conversation, self.status, self.chats, self.inspector,
            self.draft, self.editing, self.right,
        ]  # fmt: skip


_PRESSES = (HERE / "presses.js").read_text(encoding="utf-8")


def _wire(page: _Page, service: Service, demo: gr.Blocks) -> None:
    seen = [page.kept, page.screen]

    def picture(kept: Any, screen: Screen, draft: str | None = None, open_panel: bool = False) -> Any:
        return _picture(service, read_visitor(kept), screen, draft, open_panel)

    def arrive(kept: Any, request: gr.Request) -> Any:
        visitor = read_visitor(kept, request.headers.get("accept-language", ""))
        screen = handlers.arrive(service, visitor)
        return [
            *_picture(service, visitor, screen, "", False), *_labels(page, screen), visitor.language
        ]  # fmt: skip

    def send(kept: Any, screen: Screen, draft: str, *panel: Any) -> Iterator[Any]:
        visitor = read_visitor(kept)
        yield from _pictures(
            service, visitor, screen, handlers.send(service, visitor, screen, draft, panel)
        )

    def press(kept: Any, screen: Screen, event: gr.EventData, *panel: Any) -> Iterator[Any]:
        """Of a button in the conversation or in the inspector."""
        visitor = read_visitor(kept)
        try:
            action = read_action(event._data)
        except InputError:
            yield picture(kept, screen)
            return
        if action.do == "start":
            steps = handlers.send(service, visitor, screen, action.value, panel)
            yield from _pictures(service, visitor, screen, steps)
        elif action.do == "retry":
            steps = handlers.retry(service, visitor, screen, action.id, panel)
            yield from _pictures(service, visitor, screen, steps)
        else:
            after = handlers.on_message(service, visitor, screen, action)
            draft = None
            if after.editing_id != screen.editing_id:
                draft = handlers.edited_text(service, visitor, after)
            yield picture(kept, after, draft, open_panel=action.do == "inspect")

    def press_chat(kept: Any, screen: Screen, event: gr.EventData) -> Any:
        try:
            action = read_action(event._data)
        except InputError:
            return picture(kept, screen)
        after = handlers.on_conversation(service, read_visitor(kept), screen, action)
        return picture(kept, after, "" if screen.editing_id != after.editing_id else None)

    def act(handler: Callable[..., Screen], clears_draft: bool = False) -> Callable[..., Any]:
        def run(kept: Any, screen: Screen, *values: Any) -> Any:
            after = handler(service, read_visitor(kept), screen, *values)
            return picture(kept, after, "" if clears_draft else None)

        return run

    def speak(kept: Any, screen: Screen, language: str) -> Any:
        after = handlers.speak(service, read_visitor(kept), screen, language)
        return [*picture(kept, after), *_labels(page, after)]

    def bring_in(kept: Any, screen: Screen, path: str) -> Any:
        try:
            after = handlers.bring_in(service, read_visitor(kept), screen, path)
        finally:
            Path(path).unlink()  # Gradio's copy, or the chats would outlive their deletion
        return picture(kept, after, "")

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    light: dict[str, Any] = {**private, "queue": True, "concurrency_limit": None}
    relabelled = [page.brand, *(component for component, _ in page.labels), page.editing_told]

    demo.load(arrive, [page.kept], [*page.drawn, *relabelled, page.language], **light)
    turns = [
        page.draft.submit(
            send, [*seen, page.draft, *page.settings], page.drawn, api_name="send",
            show_progress="hidden", concurrency_limit=None,
        ),
        page.conversation.click(press, [*seen, *page.settings], page.drawn, **light),
        page.inspector.click(press, [*seen, *page.settings], page.drawn, **light),
    ]  # fmt: skip
    page.draft.stop(
        lambda kept, screen: picture(kept, handlers.stop(screen)), seen, page.drawn,
        cancels=turns, **light,
    )  # fmt: skip
    page.leave_edit.click(act(handlers.leave_edit, clears_draft=True), seen, page.drawn, **light)
    page.new.click(act(handlers.begin, clears_draft=True), seen, page.drawn, **light)
    page.chats.click(press_chat, seen, page.drawn, **light)
    page.search.input(
        act(handlers.look_for), [*seen, page.search], page.drawn,
        trigger_mode="always_last", **light,
    )  # fmt: skip
    page.language.input(speak, [*seen, page.language], [*page.drawn, *relabelled], **light)
    page.bring_in.upload(bring_in, [*seen, page.bring_in], page.drawn, **light)
    page.take_out.click(
        lambda kept: handlers.take_out(service, read_visitor(kept)), [page.kept], page.exported,
        **light,
    ).then(None, [page.exported], None, js="saveChats", **private)  # fmt: skip
    page.reset.click(lambda: page.defaults, None, page.settings, **light)


def _picture(
    service: Service, visitor: Visitor, screen: Screen, draft: str | None, open_panel: bool
) -> list[Any]:
    """Values of `_Page.drawn`; the draft is left alone where it is None."""
    chats = service.store.of(visitor.id)
    is_busy = screen.answering_id is not None
    composer: dict[str, Any] = {"submit_btn": not is_busy, "stop_btn": is_busy}
    if draft is not None:
        composer["value"] = draft
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
        gr.update(open=True) if open_panel else gr.skip(),
    ]


def _pictures(
    service: Service, visitor: Visitor, before: Screen, steps: Iterator[handlers.Step]
) -> Iterator[list[Any]]:
    """One picture per step; between two steps of one reply only the progress is new."""
    try:
        for screen, draft in steps:
            if screen.answering_id is not None and screen.answering_id == before.answering_id:
                skip = gr.skip()
                yield [skip, screen, skip, drawing.status_html(screen), *[skip] * 5]
            else:
                yield _picture(service, visitor, screen, draft, False)
            before = screen
    finally:
        steps.close()  # type: ignore[attr-defined]  # handlers give generators


def _labels(page: _Page, screen: Screen) -> list[Any]:
    """Updates for what carries a text, in the language of the screen."""
    language = screen.language
    return [
        f"<b>{text(language, 'title')}</b>",
        *(
            gr.update(**{property_: text(language, name) for property_, name in names.items()})
            for _, names in page.labels
        ),
        text(language, "editing"),
    ]
