"""Labels given in a real browser, by buttons and by keys."""

import json
from concurrent.futures import Future

import pytest

from eval.ssa.formats import Exchange
from eval.ssa.labels import Task, write_tasks

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def labels(tmp_path):
    return tmp_path / "anna.jsonl"


@pytest.fixture
def address(tiny_bot, tmp_path, labels):
    """A page that asks for labels of three responses."""
    from chatbot.store import Store
    from ui.app import launch
    from ui.handlers import Service
    from ui.labelling import Labelling
    from ui.turns import Turns

    made = [Exchange(("Hi!", SCRIPT), f"Response {n} {SCRIPT}") for n in range(3)]
    write_tasks([Task(one.key, one.context, one.response) for one in made], tmp_path / "tasks")
    loaded = Future()
    loaded.set_result(tiny_bot)
    labelling = Labelling(tmp_path / "tasks", labels, "anna")
    with Store.in_memory() as store:
        service = Service(Turns(loaded), store, labelling=labelling)
        demo, url = launch(service, host="127.0.0.1", port=None)
        yield url
        demo.close(verbose=False)


def test_labels_by_button_and_key_are_kept_and_gone_on_with(visit, labels):
    def given():
        records = map(json.loads, labels.read_text("utf-8").splitlines())
        return [(one.get("sensible"), one.get("specific"), one.get("undo")) for one in records]

    anna = visit()
    at = "#label .more[role=status]:text-is('{} of 3')".format
    anna.page.keyboard.type("n")  # in the composer, and before the tab is open
    assert anna.page.input_value("#draft textarea") == "n"
    anna.tab("Label")
    anna.page.wait_for_selector(at(1))
    assert SCRIPT in anna.page.locator("#label .judged .words").inner_text()
    anna.page.click("#draft textarea")
    anna.page.keyboard.type("yn")
    assert given() == []
    anna.tab("Label")
    anna.page.click("#label button:has-text('Yes')")
    anna.page.wait_for_selector("#label h3:text-is('Specific?')")
    anna.page.keyboard.type("m")
    anna.page.wait_for_selector(at(2))
    anna.page.keyboard.type("nn")  # the second comes before there is another response to see
    anna.page.wait_for_selector(at(3))
    anna.page.keyboard.press("u")
    anna.page.wait_for_selector(at(2))
    anna.arrive()
    anna.tab("Label")
    anna.page.wait_for_selector(at(2))
    korean_n = "new KeyboardEvent('keydown', {key: 'ㅜ', code: 'KeyN', bubbles: true})"
    anna.page.evaluate(f"document.body.dispatchEvent({korean_n})")
    anna.page.wait_for_selector(at(3))
    anna.page.keyboard.press("n")
    anna.page.wait_for_selector("#label :text('All 3 responses are labelled.')")
    assert given() == [
        ("yes", "maybe", None), ("no", None, None), (None, None, True),
        ("no", None, None), ("no", None, None),
    ]  # fmt: skip
    assert anna.page.locator("#label script, #label img").count() == 0
    assert anna.errors == []
