"""The page in a real browser, as a person uses it."""

import pytest

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_a_message_is_answered_and_nothing_is_fetched_from_elsewhere(visit):
    ann = visit()
    ann.say("Hello there")
    said, answered = ann.words()
    assert said == "Hello there"
    assert answered
    assert ann.page.input_value("#draft textarea") == ""
    assert ann.outside == []
    assert ann.errors == []


def test_shift_enter_begins_a_line(visit):
    ann = visit()
    ann.page.fill("#draft textarea", "one")
    ann.page.press("#draft textarea", "Shift+Enter")
    ann.page.keyboard.type("two")
    ann.page.press("#draft textarea", "Enter")
    ann.replied(1)
    assert ann.words()[0] == "one\ntwo"


def test_stop_ends_the_reply_and_keeps_the_message(visit, slow_bot):
    ann = visit()
    slow_bot.pause_s = 5.0  # a stop within a token ends the pause too
    try:
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#status .bar")
        ann.page.wait_for_function(
            "document.querySelector('#status').textContent.includes('token')"
        )
        ann.page.click("#draft .stop-button")
        ann.page.wait_for_selector("#status :text-is('Stopped.')", timeout=15_000)
    finally:
        slow_bot.pause_s = 0.0
    assert ann.words() == ["Tell me everything"]
    ann.page.click(".unanswered [data-do=retry]")
    ann.replied(1)


def test_escape_stops_a_reply_and_leaves_an_edit(visit, slow_bot):
    ann = visit()
    slow_bot.pause_s = 5.0
    try:
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#draft .stop-button")
        ann.page.keyboard.press("Escape")
        ann.page.wait_for_selector(".unanswered", timeout=15_000)
    finally:
        slow_bot.pause_s = 0.0
    ann.page.click(".message.user [data-do=edit]")
    ann.page.wait_for_selector("#editing")
    ann.page.wait_for_function("document.activeElement.matches('#draft textarea')")
    ann.page.keyboard.press("Escape")
    ann.page.wait_for_selector("#editing", state="detached")
    ann.page.wait_for_function("document.querySelector('#draft textarea').value === ''")


def test_what_is_asked_stands_under_the_composer_and_opens_the_panel(visit):
    ann = visit(900, 700)
    assert ann.page.inner_text("#asked button") == "No steering"
    ann.page.click("#asked button")
    ann.page.click("#preset label:has-text('cheerful')")
    ann.page.wait_for_selector("#asked button:has-text('Joy')")


def test_columns_share_the_window_and_no_part_scrolls_sideways(visit):
    ann = visit()
    ann.say("Hello")
    for _ in range(60):
        ann.page.keyboard.press("Tab")
    sides = ["#left", "#main", "#right"]
    left, main, right = (ann.page.locator(one).bounding_box() for one in sides)
    middle = (left["x"] + left["width"] + right["x"]) / 2
    assert abs(main["x"] + main["width"] / 2 - middle) < 2
    for part in ("#scroller", "#right .sidebar-content", "#left .sidebar-content"):
        wide = f"(e => e.scrollWidth - e.clientWidth)(document.querySelector('{part}'))"
        assert ann.page.evaluate(wide) <= 0, part


def test_every_control_has_a_name(visit):
    ann = visit(locale="ko-KR")
    ann.say("Hello")
    nameless = ann.page.evaluate(
        "() => [...document.querySelectorAll('button, input, textarea')].filter(one =>"
        " one.checkVisibility() && !one.ariaLabel && !one.textContent.trim() && !one.title"
        " && !one.labels?.length).map(one => one.outerHTML)"
    )
    assert nameless == []
    assert ann.page.evaluate("document.documentElement.lang") == "ko"
    assert ann.page.get_by_role("button", name="보내기", exact=True).count() == 1


def test_an_edited_message_is_a_branch_beside_the_first(visit):
    ann = visit()
    ann.say("First")
    before = ann.words()
    ann.page.click(".message.user [data-do=edit]")
    ann.page.wait_for_selector("#editing")
    ann.page.wait_for_function("document.querySelector('#draft textarea').value === 'First'")
    ann.send("Second")
    ann.page.wait_for_selector(".message.user .versions")
    ann.replied(1)
    assert ann.words()[0] == "Second"
    ann.page.click(".message.user .versions [data-do=version]")
    ann.page.wait_for_function(
        "document.querySelector('.message.user .words').textContent === 'First'"
    )
    assert ann.words() == before


def test_another_try_is_a_version_beside_the_reply(visit):
    ann = visit()
    ann.say("Hello")
    ann.page.click(".message.bot [data-do=retry]")
    ann.page.wait_for_selector(".message.bot .versions")
    assert "2/2" in ann.page.inner_text(".message.bot .versions")


def test_a_slider_moves_the_reply_and_the_inspector_tells_of_it(visit):
    ann = visit()
    ann.tab("Settings")
    ann.page.get_by_label("Seed").fill("7")
    ann.say("Hello there")
    ann.page.click("#new")
    ann.page.wait_for_selector("#conversation .empty")
    ann.tab("Steering")
    ann.set("Joy", 1)
    ann.page.wait_for_selector("#mix :text('Joy 1.00')")
    ann.say("Hello there")
    steered = ann.words()[1]
    ann.tab("Reply")
    ann.page.wait_for_selector("#inspector .tokens")
    told = ann.page.inner_text("#inspector")
    assert "Joy" in told
    assert "20 candidates" in told
    gains = ann.page.eval_on_selector_all(
        "#inspector .tokens .token", "all => all.map(one => one.title)"
    )
    assert any(not title.startswith("1.00") for title in gains)
    ann.tab("Compare")
    ann.page.click("#right button:has-text('With and without steering')")
    ann.page.wait_for_selector(".side + .side")
    base, again = ann.page.locator(".side .words").all_inner_texts()
    assert again == steered  # one seed, one reply
    assert base != steered


def test_the_sweep_shows_every_strength_and_can_be_stopped(visit, slow_bot):
    ann = visit()
    ann.say("Hello")
    before = ann.words()
    ann.tab("Compare")
    ann.page.click("#right button:has-text('Try five strengths')")
    ann.page.wait_for_function("document.querySelectorAll('#compared tbody tr').length === 5")
    assert ann.page.locator("#compared svg.plot").count() >= 1
    slow_bot.pause_s = 5.0
    try:
        ann.page.click("#right button:has-text('Try five strengths')")
        ann.page.wait_for_selector("#compared :text('token')")
        ann.page.click("#right button:text-is('Stop')")
        ann.page.wait_for_selector("#compared :text('Stopped')", timeout=15_000)
    finally:
        slow_bot.pause_s = 0.0
    assert ann.words() == before


def test_a_reload_restores_chat_settings_and_presets(visit):
    ann = visit()
    ann.set("Anger", 0.5)
    ann.page.wait_for_selector("#mix :text('Anger 0.50')")
    ann.page.click("#fold-presets button")
    ann.page.get_by_label("Name", exact=True).fill("cross")
    ann.page.click("#fold-presets button:text-is('Save')")
    ann.page.wait_for_selector("text=cross is saved in this browser.")
    ann.say("Remember this")
    before = ann.words()
    ann.arrive()
    ann.page.wait_for_selector("#mix :text('Anger 0.50')")
    assert ann.words() == before
    assert ann.page.get_by_label("number input for Anger", exact=True).input_value() == "0.5"
    assert "cross" in ann.page.locator("#preset label").all_inner_texts()


def test_a_preset_from_json_is_set_and_a_bad_one_is_told(visit):
    ann = visit()
    ann.page.click("#fold-presets button")
    ann.page.fill("#preset-json textarea", '{"name": "x", "controls": {"hope": 0.5, "mode": 1}}')
    ann.page.click("#right button:has-text('Use this JSON')")
    ann.page.wait_for_selector("#fold-presets .problem:has-text('hope')")
    text = '{"name": "mild", "controls": {"strengths": {"fear": 0.25}}}'
    ann.page.fill("#preset-json textarea", text)
    ann.page.click("#right button:has-text('Use this JSON')")
    ann.page.wait_for_selector("#mix :text('Fear 0.25')")


def test_a_schedule_is_drawn_with_the_present_turn(visit):
    ann = visit()
    ann.page.click("#fold-schedule button")
    ann.page.click("#fold-schedule button:text-is('Set')")
    ann.page.wait_for_selector("#schedule :text('Anger, rising: 0.00')")
    ann.say("Hello")
    ann.page.wait_for_selector("#schedule :text('Anger, rising: 0.20')")
    ann.page.click("#schedule [data-do=unschedule]")
    ann.page.wait_for_selector("#schedule :text('No attribute changes')")


def test_korean_is_spoken_and_shown(visit):
    ann = visit(locale="ko-KR")
    assert "무슨 이야기를 할까요?" in ann.page.inner_text("#conversation")
    ann.say("안녕! 오늘 어땠어?")
    assert ann.words()[0] == "안녕! 오늘 어땠어?"
    ann.page.click("#language label:has-text('English')")
    ann.page.wait_for_selector("#right button[role=tab]:has-text('Steering')")


def test_a_phone_shows_all_without_scrolling_sideways(visit):
    ann = visit(390, 844, is_mobile=True, has_touch=True)
    ann.say("Hello from a phone " + "averylongword" * 20)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert ann.page.locator("#draft").bounding_box()["y"] < 844
    ann.page.tap(".message.bot [data-do=inspect]")
    ann.page.wait_for_selector("#inspector .inspector")
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390


def is_light(visit):
    """Waits for dark letters; a change takes a moment."""
    written_in(visit, "< 80")


def is_dark(visit):
    written_in(visit, "> 200")


def written_in(visit, brightness):
    visit.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('#brand')).color.match(/\\d+/g).slice(0, 3)"
        f".reduce((sum, part) => sum + Number(part) / 3, 0) {brightness}",
        timeout=15_000,
    )


def test_dark_and_light_follow_the_system_until_chosen(visit):
    is_light(visit(color_scheme="light"))
    ann = visit(color_scheme="dark")
    is_dark(ann)
    ann.tab("Settings")
    ann.page.click("#theme label:has-text('Light')")
    is_light(ann)
    ann.arrive()
    is_light(ann)


def test_script_in_a_message_or_a_name_stays_text(visit):
    ann = visit()
    ann.say(SCRIPT)
    assert ann.words()[0] == SCRIPT
    ann.page.hover("#chats .row")
    ann.page.click("#chats [data-do=rename]")
    ann.page.fill("#chats input", SCRIPT)
    ann.page.press("#chats input", "Enter")
    ann.page.wait_for_selector("#chats .row .name")
    assert ann.page.inner_text("#chats .row .name") == SCRIPT
    ann.arrive()
    assert ann.page.locator("#conversation img, #chats img, #conversation script").count() == 0
    assert ann.errors == []


def test_two_browsers_do_not_see_each_other(visit):
    ann, bob = visit(), visit()
    ann.say("A secret of mine")
    bob.arrive()
    assert "secret" not in bob.page.inner_text("body")
    bob.say("Another one")
    ann.arrive()
    assert "Another one" not in ann.page.inner_text("body")
    assert ann.words()[0] == "A secret of mine"
