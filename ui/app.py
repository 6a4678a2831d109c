"""Wires what Gradio shows to the handlers; decides nothing.

Every event gives the whole picture again: the screen, the drawings, the composer, and what the
browser keeps. A reply is made beside the page; `follow` tells of its progress.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from chatbot.errors import InputError
from ui import drawing, handlers, panel
from ui.answers import Answering
from ui.components import Awaited, Page, labels_of
from ui.handlers import Screen, Service, Visitor, read_action, read_visitor
from ui.inspector import inspector_html
from ui.listening import free_port
from ui.markup import hues_css
from ui.panel_wiring import (
    LIGHT,
    PRIVATE,
    PanelState,
    panel_picture,
    read_panel_state,
    wire_comparison,
    wire_labelling,
    wire_presets,
    wire_schedule,
)
from ui.texts import text

FOLLOW_S = 0.05
"""How often a page that waits for a reply looks how far it is."""

HERE = Path(__file__).parent
_CSS_FILE = HERE / "style.css"
_PAGE_SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")


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


def look() -> dict[str, Any]:
    """What makes a page ours, wherever it is shown."""
    return {
        "theme": theme(),
        "css": hues_css(),
        "css_paths": _CSS_FILE,
        "js": f"() => {{ {_PAGE_SCRIPT} }}",
    }


def launch(service: Service, *, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Opens the page; gives it with its address.

    Args:
        port: None for any free one.

    Raises:
        InputError: the port cannot be had.
    """
    demo = build(service)
    _, url, _ = demo.queue(max_size=64).launch(
        server_name=host,
        # Gradio's own search leaves sockets open, and its message names a range.
        server_port=free_port(host, port or 0),
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
        **look(),
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
        page = Page(is_labelling=service.labelling is not None)
        _wire(page, service, demo)
    return demo


def _wire(page: Page, service: Service, demo: gr.Blocks) -> None:
    seen = [page.kept, page.screen]

    def picture(kept: Any, screen: Screen, **beside: Any) -> list[Any]:
        return _picture(service, read_visitor(kept), screen, _Beside(**beside))

    def changed(kept: Any, before: Screen, after: Screen, **beside: Any) -> list[Any]:
        """The picture after a press; the composer is another one's only at an edit."""
        if after.editing_id != before.editing_id:
            beside["draft"] = handlers.edited_text(service, read_visitor(kept), after)
        return picture(kept, after, **beside)

    def set_to(values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(page.settings, values, strict=True))

    def arrive(kept: Any, request: gr.Request) -> Any:
        visitor = read_visitor(kept, request.headers.get("accept-language", ""))
        screen = handlers.arrive(service, visitor)
        return [
            *_picture(service, visitor, screen, _Beside()),
            *labels_of(page, screen),
            visitor.language,
        ]

    def arrive_at_panel(kept: Any, screen: Screen, kept_panel: Any) -> Any:
        """The settings as the visitor left them."""
        values, own = read_panel_state(kept_panel)
        now = PanelState(read_visitor(kept), screen, values, own)
        return [*(values[name] for name in page.settings), *panel_picture(service, now)]

    def send(kept: Any, screen: Screen, draft: str, *values: Any) -> list[Any]:
        said = handlers.send(service, read_visitor(kept), screen, draft, set_to(values))
        if said is None:
            return [gr.skip()] * len(page.drawn)
        screen, left = said
        return picture(kept, screen, draft=left)

    def press(kept: Any, screen: Screen, event: gr.EventData, *values: Any) -> list[Any]:
        """Of a button in the conversation or in the inspector."""
        visitor = read_visitor(kept)
        try:
            action = read_action(event._data)
        except InputError:
            return picture(kept, screen)
        if action.do == "start":
            return send(kept, screen, action.value, *values)
        if action.do == "retry":
            after = handlers.retry(service, visitor, screen, action.id, set_to(values))
            return picture(kept, after)
        if action.do == "seed":
            return picture(kept, screen, seed=action.value, tab="settings")
        after = handlers.on_message(service, visitor, screen, action)
        return changed(kept, screen, after, tab="reply" if action.do == "inspect" else None)

    def stop(kept: Any, screen: Screen) -> list[Any]:
        after = handlers.stop(service, screen)
        return [gr.skip()] * len(page.drawn) if after is None else picture(kept, after)

    async def follow(kept: Any, screen: Screen, awaited: Awaited) -> AsyncIterator[str]:
        """How far the replies are that the page waits for, until one more or less is awaited."""
        visitor, drawn = read_visitor(kept), None
        under_way = service.answers.look(visitor.id)[1]
        while under_way and _numbers(under_way) == awaited[1]:
            before, drawn = drawn, drawing.progress_html(under_way, screen.language)
            if drawn != before:
                yield drawn
            await asyncio.sleep(FOLLOW_S)
            under_way = service.answers.look(visitor.id)[1]

    def look(kept: Any, screen: Screen) -> list[Any]:
        """The picture when a reply has come; a name that is being typed is left alone."""
        drawn = picture(kept, screen)
        if screen.renaming_id is not None:
            drawn[page.drawn.index(page.chats)] = gr.skip()
        return drawn

    def press_chat(kept: Any, screen: Screen, event: gr.EventData) -> Any:
        try:
            action = read_action(event._data)
        except InputError:
            return picture(kept, screen)
        after = handlers.on_conversation(service, read_visitor(kept), screen, action)
        return changed(kept, screen, after)

    def act(handler: Callable[..., Screen]) -> Callable[..., Any]:
        def run(kept: Any, screen: Screen, *values: Any) -> Any:
            return changed(kept, screen, handler(service, read_visitor(kept), screen, *values))

        return run

    def speak(kept: Any, screen: Screen, language: Any) -> Any:
        after = handlers.speak(service, read_visitor(kept), screen, language)
        return [*picture(kept, after), *labels_of(page, after)]

    def settle(kept: Any, screen: Screen, kept_panel: Any, *values: Any) -> Any:
        """What the browser keeps of the settings, and their drawings, after a change."""
        own = read_panel_state(kept_panel)[1]
        now = PanelState(read_visitor(kept), screen, set_to(values), own)
        return panel_picture(service, now)

    def bring_in(kept: Any, screen: Screen, path: str) -> Any:
        try:
            after = handlers.bring_in(service, read_visitor(kept), screen, path)
        finally:
            Path(path).unlink()  # Gradio's copy, or the chats would outlive their deletion
        return changed(kept, screen, after)

    relabelled = [page.brand, *(component for component, _ in page.labels), page.editing_told]
    settings = list(page.settings.values())
    settling: dict[str, Any] = {
        "fn": settle, "inputs": [*seen, page.kept_panel, *settings], "outputs": page.panel_drawn,
        "trigger_mode": "always_last", **LIGHT,
    }  # fmt: skip

    arrival = demo.load(arrive, [page.kept], [*page.drawn, *relabelled, page.language], **LIGHT)
    arrival.then(arrive_at_panel, [*seen, page.kept_panel], [*settings, *page.panel_drawn], **LIGHT)
    demo.load(None, None, [page.theme], js="() => window.theme()", **PRIVATE)
    page.theme.input(None, [page.theme], None, js="(name) => window.setTheme(name)", **PRIVATE)
    sent = page.draft.submit(
        send, [*seen, page.draft, *settings], page.drawn, api_name="send",
        show_progress="hidden", concurrency_limit=None,
    )  # fmt: skip
    pressed = page.conversation.click(press, [*seen, *settings], page.drawn, **LIGHT)
    in_reply = page.inspector.click(press, [*seen, *settings], page.drawn, **LIGHT)
    page.draft.stop(stop, seen, page.drawn, **LIGHT)
    # Whatever chat is open when a reply has come, it is that one which is drawn.
    ended = page.awaited.change(
        follow, [*seen, page.awaited], page.progress, trigger_mode="always_last", **LIGHT
    ).then(look, seen, page.drawn, **LIGHT)
    page.leave_edit.click(act(handlers.leave_edit), seen, page.drawn, **LIGHT)
    begun = page.new.click(act(handlers.begin), seen, page.drawn, **LIGHT)
    opened = page.chats.click(press_chat, seen, page.drawn, **LIGHT)
    # Not `input`, which comes before the value that it tells of.
    page.search.change(
        act(handlers.look_for), [*seen, page.search], page.drawn,
        trigger_mode="always_last", **LIGHT,
    )  # fmt: skip
    spoken = page.language.input(speak, [*seen, page.language], [*page.drawn, *relabelled], **LIGHT)
    brought = page.bring_in.upload(bring_in, [*seen, page.bring_in], page.drawn, **LIGHT)
    exported = page.take_out.click(
        lambda kept: handlers.take_out(service, read_visitor(kept)), [page.kept], page.exported,
        **LIGHT,
    )  # fmt: skip
    save = "(text) => window.save(text, 'chats.jsonl')"
    exported.then(None, [page.exported], None, js=save, **PRIVATE)

    for event in (sent, pressed, in_reply, begun, opened, spoken, brought, ended):
        event.then(**settling)  # the present turn is another one
    gr.on([_change_of(component) for component in settings], **settling)
    for button, names in page.resets:
        defaults = [panel.defaults()[name] for name in names]
        reset = button.click(
            lambda defaults=defaults: defaults, None, [page.settings[name] for name in names],
            **LIGHT,
        )  # fmt: skip
        reset.then(**settling)
    wire_presets(page, service)
    wire_schedule(page, service)
    wire_comparison(page, service, spoken)
    if service.labelling is not None:
        wire_labelling(page, service.labelling, [arrival, spoken])


def _change_of(component: Any) -> Any:
    """The event that tells of a new value, of a slider once it is let go."""
    if isinstance(component, gr.Slider):
        return component.release
    # Not `input` of a text, which comes before the value that it tells of.
    return component.change if isinstance(component, gr.Textbox) else component.input


def _numbers(under_way: Sequence[Answering]) -> tuple[int, ...]:
    return tuple(one.number for one in under_way)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What an event changes beside the screen; None leaves it as it is."""

    draft: str | None = None
    seed: str | None = None
    tab: str | None = None


def _picture(service: Service, visitor: Visitor, screen: Screen, beside: _Beside) -> list[Any]:
    """Values of `Page.drawn`."""
    chats = service.store.of(visitor.id)
    answering, under_way = service.answers.look(visitor.id, screen.conversation_id)
    is_busy = answering in under_way
    composer: dict[str, Any] = {"submit_btn": not is_busy, "stop_btn": is_busy}
    if beside.draft is not None:
        composer["value"] = beside.draft
    now = Visitor(visitor.id, screen.conversation_id, screen.language)
    return [
        asdict(now),
        screen,
        # New every time, so that `follow` comes after each picture on which something is awaited.
        (time.monotonic_ns(), _numbers(under_way)) if under_way else gr.skip(),
        drawing.conversation_html(chats, screen, answering),
        drawing.progress_html(under_way, screen.language),
        drawing.status_html(screen, answering, service.store.notice),
        drawing.list_html(chats, screen, {one.conversation_id for one in under_way}),
        inspector_html(chats, screen),
        gr.update(**composer),
        gr.update(visible=screen.editing_id is not None),
        gr.skip() if beside.tab is None else gr.update(open=True),
        gr.skip() if beside.tab is None else gr.update(selected=beside.tab),
        gr.skip() if beside.seed is None else beside.seed,
    ]
