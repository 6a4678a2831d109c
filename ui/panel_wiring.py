"""Wires the panel: presets, the schedule, comparisons, labels; decides nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from chatbot.errors import ChatbotError, InputError
from ui import comparing, handlers, panel, scheduling, shelf
from ui.comparing import Comparison
from ui.comparison_drawing import comparison_html
from ui.components import Page
from ui.handlers import Screen, Service, Visitor, read_action, read_visitor
from ui.labelling import Labelling
from ui.labelling_drawing import labelling_html
from ui.markup import Sayer, problem
from ui.panel_drawing import asked_html, mix_html, schedule_html
from ui.texts import preset_name

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
LIGHT: dict[str, Any] = {**PRIVATE, "queue": True, "concurrency_limit": None}


@dataclass(frozen=True, slots=True)
class PanelState:
    """The settings of a visitor, with what is drawn of them."""

    visitor: Visitor
    screen: Screen
    values: panel.Panel
    own: shelf.Own


def read_panel_state(kept: Any) -> tuple[dict[str, Any], shelf.Own]:
    """Settings and presets in what the browser kept."""
    parts = kept if isinstance(kept, Mapping) else {}
    return panel.sound(parts.get("panel")), shelf.read_own(parts.get("own"))


def panel_picture(service: Service, now: PanelState) -> list[Any]:
    """Values of `Page.panel_drawn`."""
    say = Sayer(now.screen.language)
    kept = {"panel": dict(now.values), "own": now.own}
    try:
        settings = panel.read_panel(now.values)
        preset = panel.as_preset(now.values, "shared").to_json()
    except ChatbotError as error:
        return [kept, problem(str(error)), *[gr.skip()] * 5]
    place = scheduling.spoken(handlers.thread(service, now.visitor, now.screen))
    return [
        kept, "", mix_html(settings.controls, place, say), asked_html(settings, place, say),
        schedule_html(settings.controls, place, say), preset,
        gr.update(
            choices=[
                (_called(now, name), name) for name in shelf.names(service.presets, now.own)
            ],
            value=shelf.current(service.presets, now.own, now.values),
        ),
    ]  # fmt: skip


def _called(now: PanelState, preset: str) -> str:
    """A preset in the visitor's language; one's own as one named it."""
    return preset if preset in now.own else preset_name(now.screen.language, preset)


def wire_presets(page: Page, service: Service) -> None:
    """Choosing, saving, deleting and sharing presets."""
    settings = list(page.settings.values())
    inputs = [page.kept, page.screen, page.kept_panel, page.preset_name, page.preset_json]
    outputs = [page.preset_told, *settings, *page.panel_drawn]

    def act(
        change: Callable[[PanelState, Any, str, str], tuple[PanelState, str, str]],
    ) -> Callable[..., Any]:
        """A handler that tells what it did, or in words why it did nothing."""

        def run(
            kept: Any, screen: Screen, kept_panel: Any, name: str, typed: str, chosen: Any,
            *values: Any,
        ) -> Any:  # fmt: skip
            given = dict(zip(page.settings, values, strict=True))
            own = read_panel_state(kept_panel)[1]
            now = PanelState(read_visitor(kept), screen, given, own)
            try:
                now, about, done = change(now, chosen, name, typed)
            except ChatbotError as error:
                return [problem(str(error)), *[gr.skip()] * (len(outputs) - 1)]
            told = Sayer(screen.language)(done, name=_called(now, about))
            return [
                f'<p class="more" role="status">{told}</p>',
                *(now.values[one] for one in page.settings), *panel_picture(service, now),
            ]  # fmt: skip

        return run

    def choose(now: PanelState, chosen: Any, name: str, typed: str) -> Any:
        preset = shelf.find(service.presets, now.own, chosen)
        return replace(now, values=panel.with_preset(now.values, preset)), chosen, "preset_used"

    def save(now: PanelState, chosen: Any, name: str, typed: str) -> Any:
        own = shelf.saved(now.own, now.values, name)
        return replace(now, own=own), name.strip(), "preset_saved"

    def delete(now: PanelState, chosen: Any, name: str, typed: str) -> Any:
        return replace(now, own=shelf.deleted(now.own, chosen)), chosen, "preset_deleted"

    def use(now: PanelState, chosen: Any, name: str, typed: str) -> Any:
        preset = shelf.read_json(typed)
        values, own = panel.with_preset(now.values, preset), shelf.kept(now.own, preset)
        return replace(now, values=values, own=own), preset.name, "preset_used"

    wanted = [*inputs, page.preset, *settings]
    page.preset.input(act(choose), wanted, outputs, **LIGHT)
    page.preset_save.click(act(save), wanted, outputs, **LIGHT)
    page.preset_delete.click(act(delete), wanted, outputs, **LIGHT)
    page.preset_use.click(act(use), wanted, outputs, **LIGHT)
    download = "(text) => window.save(text, 'preset.json')"
    page.preset_download.click(None, [page.preset_json], None, js=download, **PRIVATE)


def wire_schedule(page: Page, service: Service) -> None:
    """Curves put into the schedule and taken out."""
    settings = list(page.settings.values())
    inputs = [page.kept, page.screen, page.kept_panel, *settings]
    outputs = [page.schedule_told, page.settings["schedule"], *page.panel_drawn]

    def changed(
        kept: Any, screen: Screen, kept_panel: Any, values: Sequence[Any],
        change: Callable[[panel.Panel], str],
    ) -> Any:  # fmt: skip
        given = dict(zip(page.settings, values, strict=True))
        own = read_panel_state(kept_panel)[1]
        try:
            given["schedule"] = change(given)
        except ChatbotError as error:
            return [problem(str(error)), *[gr.skip()] * (len(outputs) - 1)]
        now = PanelState(read_visitor(kept), screen, given, own)
        return ["", given["schedule"], *panel_picture(service, now)]

    def add(kept: Any, screen: Screen, kept_panel: Any, *values: Any) -> Any:
        values, plan = values[: len(settings)], scheduling.Plan(*values[len(settings) :])
        return changed(
            kept, screen, kept_panel, values, lambda given: scheduling.scheduled(given, plan)
        )

    def press(kept: Any, screen: Screen, kept_panel: Any, event: gr.EventData, *values: Any) -> Any:
        def drop(given: panel.Panel) -> str:
            return scheduling.unscheduled(given, read_action(event._data).value)

        return changed(kept, screen, kept_panel, values, drop)

    page.schedule_add.click(add, [*inputs, *page.plan], outputs, **LIGHT)
    page.schedule.click(press, inputs, outputs, **LIGHT)


def wire_comparison(page: Page, service: Service, spoken: Any) -> None:
    """Base against steered, and the sweep; `spoken` is the event of another language."""
    settings = list(page.settings.values())
    inputs = [page.kept, page.screen, page.comparison, *settings]
    outputs = [page.comparison, page.compared, page.compare_stop]

    def drawn(screen: Screen, now: Comparison) -> list[Any]:
        shown = comparison_html(now, Sayer(screen.language))
        return [now, shown, gr.update(visible=now.key is not None)]

    def compare(kept: Any, screen: Screen, now: Comparison, *values: Any) -> Iterator[Any]:
        given = dict(zip(page.settings, values, strict=True))
        with closing(comparing.compare(service, read_visitor(kept), screen, now, given)) as steps:
            for step in steps:
                yield drawn(screen, step)

    def sweep(kept: Any, screen: Screen, now: Comparison, *values: Any) -> Iterator[Any]:
        *values_, attribute = values
        given = dict(zip(page.settings, values_, strict=True))
        with closing(
            comparing.sweep(service, read_visitor(kept), screen, now, given, attribute)
        ) as steps:
            for step in steps:
                yield drawn(screen, step)

    def stop(screen: Screen, now: Comparison) -> Any:
        after = comparing.stop(service, now)
        return [gr.skip()] * 3 if after is None else drawn(screen, after)

    page.compare.click(compare, inputs, outputs, **LIGHT)
    page.sweep.click(sweep, [*inputs, page.swept], outputs, **LIGHT)
    page.compare_stop.click(stop, [page.screen, page.comparison], outputs, **LIGHT)
    spoken.then(
        lambda screen, now: drawn(screen, now)[1], [page.screen, page.comparison],
        page.compared, **LIGHT,
    )  # fmt: skip


def wire_labelling(page: Page, labelling: Labelling, shown_after: Sequence[Any]) -> None:
    """Answers to a response; the events `shown_after` draw what is asked."""

    def look(screen: Screen) -> str:
        return labelling_html(labelling.asked(), Sayer(screen.language))

    def press(screen: Screen, event: gr.EventData) -> str:
        try:
            action = read_action(event._data)
        except InputError:
            return look(screen)
        now = labelling.press(action.do, action.id, action.value)
        return labelling_html(now, Sayer(screen.language))

    for event in shown_after:
        event.then(look, [page.screen], page.labelling, **LIGHT)
    page.labelling.click(press, [page.screen], page.labelling, **LIGHT)
