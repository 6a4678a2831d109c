"""The page in a real browser, as a person uses it."""

import json

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
    with slow_bot.slow():
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#progress :text('token')")
        ann.page.click("#draft .stop-button")
        ann.page.wait_for_selector("#status :text-is('Stopped.')", timeout=15_000)
    assert ann.words() == ["Tell me everything"]
    ann.page.click(".unanswered [data-do=retry]")
    ann.replied(1)


def test_a_failed_turn_says_why_and_keeps_the_message(visit, slow_bot):
    ann = visit()
    with slow_bot.failing(RuntimeError("out of <b>memory</b>")):
        ann.send("Hello")
        ann.page.wait_for_selector("#status .problem:has-text('out of <b>memory</b>')")
    assert ann.words() == ["Hello"]
    ann.page.click(".unanswered [data-do=retry]")
    ann.replied(1)
    assert ann.page.locator("#status .problem").count() == 0


def test_progress_is_told_and_the_composer_is_free_meanwhile(visit, slow_bot):
    ann = visit()
    with slow_bot.slow():
        ann.send("Hello")
        ann.page.wait_for_selector("#progress :text('20 candidates, token 1 of 40')")
        ann.page.fill("#draft textarea", "What comes next")
        ann.page.press("#draft textarea", "Enter")  # too early: nothing is sent, nothing lost
        ann.page.click("#draft .stop-button")
        ann.page.wait_for_selector(".unanswered", timeout=15_000)
    assert ann.words() == ["Hello"]
    assert ann.page.input_value("#draft textarea") == "What comes next"
    ann.page.click("#new")
    ann.page.wait_for_selector("#conversation .empty")
    assert ann.page.input_value("#draft textarea") == "What comes next"
    ann.page.reload()
    ann.page.wait_for_selector("#mix .mix", state="attached")
    assert ann.page.input_value("#draft textarea") == "What comes next"
    ann.page.press("#draft textarea", "Enter")
    ann.replied(1)
    assert ann.words()[0] == "What comes next"


def test_another_chat_is_read_and_written_while_one_is_answered(visit, slow_bot):
    ann = visit()
    ann.say("Here I read")
    read = ann.words()
    with slow_bot.slow():
        ann.page.click("#new")
        ann.page.wait_for_selector("#conversation .empty")
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#progress :text('token')")
        ann.page.click("#chats .name:text-is('Here I read')")
        ann.page.wait_for_selector(".message.bot")
        assert ann.words() == read
        assert not ann.page.locator("#progress .status").is_visible()
        assert ann.page.locator("#draft .stop-button").count() == 0
        assert ann.page.locator("#chats .dots").count() == 1
        ann.send("And here I write")
        ann.page.wait_for_selector("#progress :text('Waiting for another reply')")
        ann.page.click("#chats .name:text-is('Tell me everything')")
        ann.page.wait_for_selector("#progress :text('token')")
    ann.replied(1)  # drawn when it comes, in the chat that is open
    ann.page.wait_for_selector("#chats .dots", state="detached")
    assert ann.words()[0] == "Tell me everything"
    ann.page.click("#chats .name:text-is('Here I read')")
    ann.replied(2)
    assert ann.words()[:3] == [*read, "And here I write"]


def test_a_reply_goes_on_over_a_reload_and_is_stopped_after_it(visit, slow_bot):
    ann = visit()
    with slow_bot.slow():
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#progress :text('token')")
        ann.arrive()
        ann.page.wait_for_selector("#progress :text('token')")
    ann.replied(1)
    with slow_bot.slow():
        ann.send("Once more")
        ann.page.wait_for_selector("#progress :text('token')")
        ann.arrive()
        ann.page.click("#draft .stop-button")
        ann.page.wait_for_selector("#status :text-is('Stopped.')", timeout=15_000)
    assert ann.words()[2:] == ["Once more"]


def test_a_lost_connection_is_told_where_one_writes(visit):
    ann = visit(locale="ko-KR")
    ann.say("안녕")
    ann.page.context.set_offline(True)
    ann.send("아직 있어?")
    ann.page.wait_for_selector("#composer [role=alert]:has-text('프로그램이 응답하지 않습니다')")
    assert not ann.page.locator("[data-testid=toast-body]").is_visible()  # Gradio's, in English
    assert ann.page.input_value("#draft textarea") == "아직 있어?"
    ann.page.context.set_offline(False)
    ann.page.wait_for_selector("#composer [role=alert]", state="detached")  # it loads anew
    ann.page.wait_for_selector("#mix .mix", state="attached")
    assert ann.page.input_value("#draft textarea") == "아직 있어?"
    ann.page.press("#draft textarea", "Enter")
    ann.replied(2)


def test_enter_that_ends_a_korean_syllable_does_not_send(visit):
    ann = visit(locale="ko-KR")
    ann.page.fill("#draft textarea", "안녕")
    enter = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true})"
    ann.page.eval_on_selector("#draft textarea", f"area => area.dispatchEvent({enter})")
    ann.page.wait_for_timeout(500)
    assert ann.words() == []
    assert ann.page.input_value("#draft textarea") == "안녕"


def test_a_reply_is_copied_rated_and_told_how_it_came_about(visit):
    ann = visit(permissions=["clipboard-read", "clipboard-write"])
    ann.say("Hello " + "there " * 200)
    reply = ann.words()[1]
    ann.page.click(".message.bot [data-do=copy]")
    ann.page.wait_for_selector(".message.bot .tool.done")
    assert ann.page.evaluate("navigator.clipboard.readText()") == reply
    ann.page.click(".message.bot [data-do=rate][data-value='1']")
    ann.page.wait_for_selector(".message.bot [data-value='1'][aria-pressed=true]")
    ann.arrive()
    assert ann.page.locator(".message.bot [data-value='1'][aria-pressed=true]").count() == 1
    ann.page.click(".message.bot [data-do=inspect]")
    ann.page.wait_for_selector("#inspector dl")
    told = ann.page.inner_text("#inspector")
    for part in ("only its end was read", "tokens cut from its start", "Seed", "Time", "Model"):
        assert part in told, part


def test_another_candidate_becomes_the_reply_beside_the_first(visit):
    ann = visit()
    ann.set("Joy", 0.5)
    ann.page.wait_for_selector("#mix :text('Joy 0.50')")
    ann.say("Hello")
    first = ann.words()[1]
    ann.page.click(".message.bot .effects:has-text('Joy 0.50')")  # asked, under the reply
    ann.page.wait_for_selector("#inspector [data-do=take]")
    rows = ann.page.locator("#inspector tr.said").count()
    assert rows == 20
    other = ann.page.locator("#inspector tr.said:has([data-do=take]) .words").first.inner_text()
    ann.page.click("#inspector [data-do=take]")
    ann.page.wait_for_selector(".message.bot .versions")
    assert ann.words()[1] == other != first
    assert "Chosen by you" in ann.page.inner_text(".message.bot .effects")
    assert "You chose another candidate" in ann.page.inner_text("#inspector")
    ann.page.click(".message.bot .versions [data-do=version]")
    ann.page.wait_for_selector(".message.bot .versions:has-text('1/2')")
    assert ann.words()[1] == first


def test_verdicts_rules_and_controls_without_effect_are_told(visit, tmp_path):
    """What only a model with a filter says, put into the file of a chat."""
    ann = visit()
    ann.say("Hello")
    with ann.page.expect_download() as download:
        ann.page.click("#exchange button:has-text('Export')")
    record = json.loads(download.value.path().read_text("utf-8"))
    reply = record["messages"][1]["reply"]
    reply["trace"]["notes"] = ["joy had no effect: none of its words came."]
    reply["trace"]["rules"] = [
        {"name": "politics", "detector": "politics", "probability": 0.87, "threshold": 0.5,
         "reason": "It takes no side.", "change": {"set": {"neutral": 1.0}, "aside": ["joy"]}}
    ]  # fmt: skip
    reply["candidates"][0]["dropped"] = None
    reply["candidates"][-1] |= {
        "text": "Left out", "dropped": "rejected",
        "verdict": {"risk": 0.91, "category": "insult", "nearest": "near", "similarity": 0.8,
                    "reason": "like_example", "accepted": False},
    }  # fmt: skip
    (tmp_path / "chats.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    ann.page.set_input_files("#exchange input[type=file]", tmp_path / "chats.jsonl")
    ann.page.wait_for_selector(".message.bot .effects .note:has-text('joy had no effect')")
    ann.page.click(".message.bot .effects")
    ann.page.wait_for_selector("#inspector .notes:has-text('joy had no effect')")
    told = ann.page.inner_text("#inspector")
    for part in ("Politics 0.87 ≥ 0.50: It takes no side.", "Sets Neutral 1.00. Leaves out Joy.",
                 "rejected by the ethics filter", "Insult: like an unethical example", "0.91",
                 "highest score"):  # fmt: skip
        assert part in told, part
    rejected = ann.page.locator("#inspector tr.said:has-text('Left out')")
    assert rejected.locator("[data-do=take]").count() == 0


def test_chats_are_found_renamed_and_deleted(visit):
    ann = visit()
    for said in ("About pears", "About apples"):
        ann.page.click("#new")
        ann.page.wait_for_selector("#conversation .empty")
        ann.say(said)
    names = ann.page.locator("#chats .name")
    assert names.all_inner_texts() == ["About apples", "About pears"]
    ann.page.fill("#search textarea", "pears")
    ann.page.wait_for_function("document.querySelectorAll('#chats .row').length === 1")
    assert names.all_inner_texts() == ["About pears"]
    ann.page.fill("#search textarea", '"* nothing')
    ann.page.wait_for_selector("#chats :text('Nothing found.')")
    ann.page.fill("#search textarea", "")
    ann.page.wait_for_function("document.querySelectorAll('#chats .row').length === 2")
    rename(ann, "Fruit", leave=lambda: ann.page.press("#chats input", "Enter"))
    rename(ann, "Green fruit", leave=lambda: ann.page.click("#draft textarea"))
    ann.page.click("#chats .row.open [data-do=rename]")
    ann.page.fill("#chats input", "Not this")
    ann.page.press("#chats input", "Escape")
    ann.page.wait_for_selector("#chats .name:text-is('Green fruit')")
    ann.page.click("#chats .row.open [data-do=delete]")
    ann.page.click("#chats [data-do=keep]")
    ann.page.click("#chats .row.open [data-do=delete]")
    ann.page.click("#chats [data-do=delete_sure]")
    ann.page.wait_for_selector("#conversation .empty")
    ann.arrive()
    assert names.all_inner_texts() == ["About pears"]


def rename(visit, name, leave):
    visit.page.click("#chats .row.open [data-do=rename]")
    visit.page.fill("#chats input", name)
    leave()
    visit.page.wait_for_selector(f"#chats .name:text-is('{name}')")


def test_chats_go_out_and_come_back_as_openai_messages(visit, tmp_path):
    ann, bob = visit(), visit()
    ann.say(SCRIPT)
    before = ann.words()
    with ann.page.expect_download() as download:
        ann.page.click("#exchange button:has-text('Export')")
    download.value.save_as(tmp_path / "chats.jsonl")
    line = json.loads((tmp_path / "chats.jsonl").read_text("utf-8"))
    assert [(one["role"], one["content"]) for one in line["messages"]] == [
        ("user", before[0]), ("assistant", before[1])
    ]  # fmt: skip
    bob.page.set_input_files("#exchange input[type=file]", tmp_path / "chats.jsonl")
    bob.page.wait_for_selector("#chats :text('Chats imported: 1.')")
    assert bob.words() == before
    (tmp_path / "bad.jsonl").write_text('{"messages": [{"role": "<img src=x>"}]}\n')
    bob.page.set_input_files("#exchange input[type=file]", tmp_path / "bad.jsonl")
    bob.page.wait_for_selector("#chats .problem:has-text('line 1')")
    assert bob.words() == before
    for one in (ann, bob):
        assert one.page.locator("#main img, #left img, #main script, #left script").count() == 0
        assert one.errors == []


def test_a_long_list_of_chats_comes_in_parts(visit, tmp_path):
    ann = visit()
    messages = [{"role": "user", "content": "Hello"}]
    lines = [json.dumps({"title": f"Chat {n}", "messages": messages}) for n in range(50)]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines) + "\n")
    ann.page.set_input_files("#exchange input[type=file]", tmp_path / "chats.jsonl")
    ann.page.wait_for_selector("#chats [data-do=more]:has-text('(10)')")
    assert ann.page.locator("#chats .row").count() == 40
    ann.page.click("#chats [data-do=more]")
    ann.page.wait_for_function("document.querySelectorAll('#chats .row').length === 50")
    assert ann.page.locator("#chats [data-do=more]").count() == 0


def test_topics_mode_candidates_and_rules_are_set_and_shown(visit):
    ann = visit()
    ann.page.click("#topics label:has-text('Games')")
    ann.page.click("#topics label:has-text('Music')")
    ann.page.wait_for_selector("#mix :text('Music 0.50')")
    assert ann.page.locator("#mix .shares .plus").count() == 2
    ann.page.click("#fold-rules button")
    ann.page.click("#rules label:has-text('Politics')")
    ann.page.click("#fold-how button")
    ann.page.click("#fold-how label:has-text('Deeper')")
    ann.page.wait_for_selector("#asked :text('Deeper (layers)')")
    ann.tab("Settings")
    ann.set("Candidates", 3)
    ann.tab("Steering")
    ann.page.click("#fold-presets button")
    ann.page.wait_for_selector("#preset-json textarea")
    shared = "() => JSON.parse(document.querySelector('#preset-json textarea').value)"
    ann.page.wait_for_function(f"({shared})().sampling.candidates === 3")
    controls = ann.page.evaluate(shared)["controls"]
    assert controls["strengths"] == {"game": 0.5, "music": 0.5}
    assert (controls["mode"], controls["rules_off"]) == ("layers", ["politics"])
    ann.say("Hello")
    ann.tab("Reply")
    ann.page.wait_for_selector("#inspector .outcome:has-text('3 candidates')")
    assert "Deeper (layers)" in ann.page.inner_text("#inspector")
    ann.tab("Steering")
    ann.page.click("#right button:has-text('Do not steer')")
    ann.page.wait_for_selector("#mix :text('No steering')")


def test_what_cannot_be_set_is_told_beside_it_or_becomes_the_nearest(visit):
    ann = visit()
    ann.set("Joy", 5)
    ann.page.wait_for_selector("#mix :text('Joy 1.00')")
    ann.set("Joy", "")
    ann.set("Fear", -7)
    ann.page.wait_for_selector("#mix :text('Joy 1.00') + :text('Fear \N{MINUS SIGN}1.00')")
    assert ann.page.locator("[data-testid=toast-body]").count() == 0
    ann.tab("Settings")
    ann.page.get_by_label("Seed").fill("abc")
    ann.page.wait_for_selector("#settings-told [role=alert]:has-text('abc')")
    ann.send("Hello")
    ann.page.wait_for_selector("#status .problem:has-text('abc')")
    assert ann.page.input_value("#draft textarea") == "Hello"
    ann.page.get_by_label("Seed").fill("12")
    ann.page.get_by_label("Seed").press_sequentially("3")
    ann.page.wait_for_selector("#asked :text('Seed 123')")
    assert ann.page.locator("#settings-told [role=alert]").count() == 0


def test_the_chosen_preset_is_the_one_that_the_panel_has(visit):
    ann = visit()
    chosen = "#preset label:has(:checked)"
    ann.page.click("#preset label:has-text('cheerful')")
    ann.page.wait_for_selector("#asked :text('Joy')")
    ann.arrive()
    assert ann.page.inner_text(chosen) == "cheerful"
    ann.set("Fear", 0.25)
    ann.page.wait_for_selector(chosen, state="detached")


def test_a_seed_is_kept_shown_and_given_up(visit):
    ann = visit()
    ann.say("Hello")
    first = ann.words()[1]
    ann.tab("Reply")
    ann.page.click("#inspector [data-do=seed]")
    ann.page.wait_for_selector("#asked :text('Seed')")
    ann.page.click("#new")
    ann.page.wait_for_selector("#conversation .empty")
    ann.say("Hello")
    assert ann.words()[1] == first
    ann.page.click("#asked [data-panel=settings]")
    ann.page.click("#right button:has-text('Back to defaults')")
    ann.page.wait_for_selector("#asked :text('Seed')", state="detached")


def test_plots_over_tokens_and_turns_are_drawn(visit):
    ann = visit()
    ann.set("Joy", 0.5)
    ann.page.wait_for_selector("#mix :text('Joy 0.50')")
    ann.say("Hello")
    ann.set("Joy", 1)
    ann.page.wait_for_selector("#mix :text('Joy 1.00')")
    ann.say("And you?")
    ann.tab("Reply")
    ann.page.wait_for_selector("#inspector svg.plot[aria-label='Over the turns'] .dashed")
    assert ann.page.locator("#inspector svg.spark").count() == 1


def test_tab_leaves_a_dropdown_closed(visit):
    ann = visit()
    ann.tab("Compare")
    ann.page.click("#swept input")
    ann.page.wait_for_selector(".option-list")
    ann.page.keyboard.press("Tab")
    ann.page.wait_for_selector("#swept .option-list", state="detached")
    assert ann.page.evaluate("document.activeElement.textContent.trim()") == "Try five strengths"


def test_who_reads_further_up_finds_the_way_down(visit):
    ann = visit(height=500)
    ann.say("many lines\n" * 60)
    ann.say("many lines\n" * 60)
    assert not ann.page.locator("#down").is_visible()
    ann.page.eval_on_selector("#scroller", "scroller => (scroller.scrollTop = -400)")
    ann.page.wait_for_selector("#down:visible")
    ann.page.click("#down")
    ann.page.wait_for_selector("#down", state="hidden")
    ann.page.eval_on_selector("#scroller", "scroller => (scroller.scrollTop = -400)")
    ann.say("Down here")
    assert ann.page.eval_on_selector("#scroller", "scroller => scroller.scrollTop") == 0


def test_escape_stops_a_reply_and_leaves_an_edit(visit, slow_bot):
    ann = visit()
    with slow_bot.slow():
        ann.send("Tell me everything")
        ann.page.wait_for_selector("#draft .stop-button")
        ann.page.keyboard.press("Escape")
        ann.page.wait_for_selector(".unanswered", timeout=15_000)
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
    with slow_bot.slow():
        ann.page.click("#right button:has-text('Try five strengths')")
        ann.page.wait_for_selector("#compared :text('token')")
        ann.page.click("#right button:text-is('Stop')")
        ann.page.wait_for_selector("#compared :text('Stopped')", timeout=15_000)
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
