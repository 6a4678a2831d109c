"""Laws of the command line: `chatbot respond` and `chatbot chat`, on a tiny model."""

import fcntl
import io
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time

import pytest

from chatbot import Chatbot, Sampling
from chatbot.cli import main

FEW = ("--candidates", "3", "--max-new-tokens", "6")


@pytest.fixture
def chatbot(monkeypatch, capsys, tiny_model_dir):
    """`chatbot("respond", "Hi!")`: exit code, output, errors; `typed` is what stands on stdin."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # else set for good

    def run(command, *arguments, typed=b""):
        model = ("--model", str(tiny_model_dir), "--device", "cpu")
        monkeypatch.setattr(sys, "argv", ["chatbot", command, *model, *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), "utf-8"))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def chat(chatbot):
    """`chat("Hi!", "/quit")`: output and errors of a chat in which these lines are typed."""

    def run(*lines, options=FEW):
        code, out, err = chatbot("chat", *options, typed="".join(f"{x}\n" for x in lines).encode())
        assert code == 0
        return out.partition("keep the chat\n")[2], err

    return run


def replies_in(out):
    """What the bot said; a prompt stands before it, as what is typed is not echoed."""
    lines = [line.replace("you> ", "") for line in out.splitlines()]
    return [line.removeprefix("bot> ") for line in lines if line.startswith("bot> ")]


# -- respond


def test_respond_prints_the_reply(chatbot):
    code, out, err = chatbot("respond", "Hi!", "--seed", "7", *FEW)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert chatbot("respond", "Hi!", "--seed", "7", *FEW)[1] == out


def test_respond_tells_the_whole_reply_as_json(chatbot):
    options = ("--seed", "7", "--temperature", "1", "--top-k", "50", "--top-p", ".9", *FEW)
    code, out, _ = chatbot("respond", "Hi!", "안녕", "How are you?", "--json", *options)
    reply = json.loads(out)
    assert code == 0
    assert reply["seed"] == 7
    assert reply["trace"]["turns"] == ["Hi!", "안녕", "How are you?"]
    assert reply["trace"]["sampling"] == {
        "candidates": 3,
        "temperature": 1,
        "top_k": 50,
        "top_p": 0.9,
        "max_new_tokens": 6,
    }
    assert len(reply["candidates"]) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["  "], "the message is empty"),
        (["\ud800"], "the message is empty"),
        (["Hi!", "", "Well?"], "turn 2 is empty"),
        (["Hi!", "--seed", "-1"], "the seed is -1; give a whole number"),
        (["Hi!", "--candidates", "0"], "candidates is 0; give a whole number from 1"),
        (["Hi!", "--temperature", "nan"], "temperature is nan; give"),
        (["Hi!", "--top-p", "2"], "top_p is 2.0; give"),
        (["Hi!", "--novelty", "9"], "novelty is 9.0; give"),
        (["Hi!", "--device", "abacus"], "unknown device 'abacus'; give"),
        (["Hi!", "--model", "/no/such/folder"], "no folder /no/such/folder; give"),
    ],
    ids=str,
)
def test_bad_input_ends_with_code_2_and_one_line(chatbot, arguments, told):
    code, out, err = chatbot("respond", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["respond"],
        ["respond", "Hi!", "--warmth", "3"],
        ["respond", "Hi!", "--seed", "x"],
        ["chat", "--seed", "1.5"],
        ["sing"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_does_not_know_ends_with_code_2(chatbot, arguments):
    code, out, err = chatbot(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err


def test_chat_checks_its_options_before_it_loads(chatbot):
    code, _, err = chatbot("chat", "--seed", "-1")
    assert code == 2
    assert "Loading" not in err


# -- chat


def test_a_chat_is_the_conversation_that_the_library_has(chat, tiny_model_dir):
    out, _ = chat("Hi!", "How are you?", options=("--seed", "5", *FEW))
    bot = Chatbot.load(tiny_model_dir, device="cpu", guarded=False)
    conversation = bot.conversation(sampling=Sampling(candidates=3, max_new_tokens=6))
    said = [conversation.say(text, seed=5).text for text in ("Hi!", "How are you?")]
    assert replies_in(out) == said


@pytest.mark.parametrize("leave", [["/quit"], ["/exit"], []], ids=["quit", "exit", "end of input"])
def test_a_chat_ends_when_asked_to(chat, leave):
    out, _ = chat("Hi!", *leave)
    assert out.count("you> ") == 2


def test_lines_after_quit_are_not_read(chat):
    assert chat("/quit", "Hi!")[0] == "you> "


def test_empty_lines_are_passed_over(chat):
    out, err = chat("", "   ", "\t")
    assert out.strip() == "you> you> you> you>"
    assert err == "Loading the bot ...\n"


def test_what_cannot_be_answered_is_told_and_the_chat_goes_on(chat):
    out, err = chat("\u200b", "Hi!")
    assert "the message is empty" in err
    assert out.count("bot> ") == 1


def test_ctrl_c_at_the_prompt_does_not_end_the_chat(chat, monkeypatch):
    typed = iter([KeyboardInterrupt, "Hi!", KeyboardInterrupt, EOFError])

    def read(prompt):
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    out, err = chat()
    assert err.count("(/quit or Ctrl-D leaves)") == 2
    assert out.count("bot> ") == 1


def test_broken_bytes_do_not_end_the_chat(chatbot):
    code, out, err = chatbot("chat", *FEW, typed=b"caf\xe9 \xff\xfe\nHi!\n")
    assert code == 0
    assert out.count("bot> ") == 2
    assert "Traceback" not in err


def test_a_fixed_seed_repeats_and_a_freed_one_does_not(chat):
    script = ["/seed 5", "Hi!", "/reset", "Hi!", "/seed", *["/reset", "Hi!"] * 6]
    out, _ = chat(*script)
    said = replies_in(out)
    assert "Every reply uses seed 5." in out
    assert "Every reply draws a new seed." in out
    assert said[0] == said[1]
    assert len(set(said)) > 2


@pytest.mark.parametrize("seed", ["x", "-3", "1.5", "9" * 30, "9" * 5000], ids=lambda s: s[:9])
def test_what_is_no_seed_is_told(chat, seed):
    out, _ = chat(f"/seed {seed}", "Hi!")
    assert "is no seed; give a whole number" in out
    assert out.count("bot> ") == 1
    assert max(map(len, out.splitlines())) < 200


def test_history_shows_what_was_said(chat):
    out, _ = chat("/history", "Hi!", "/history", "/reset", "/history")
    assert out.count("Nothing was said yet.") == 2
    said, shown = replies_in(out)
    assert shown == said
    assert f"you> Hi!\nbot> {said}\n" in out


def test_an_unknown_command_shows_the_help(chat):
    assert "/reset" in chat("/dance")[0]


def test_save_writes_the_conversation(chat, tmp_path):
    file = tmp_path / "chat.json"
    out, _ = chat("안녕 🙂", f"/save {file}", options=("--seed", "5", *FEW))
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert f"Saved 2 turns to {file}." in out
    assert saved["turns"][0] == "안녕 🙂"
    assert saved["turns"][1] == saved["replies"][0]["text"] == replies_in(out)[0]
    assert saved["replies"][0]["seed"] == 5


@pytest.mark.parametrize(
    "name", ["", "/no/such/folder/chat.json", ".", "~nobody-here/chat.json", "a\0b"], ids=repr
)
def test_what_cannot_be_saved_is_told_and_the_chat_goes_on(chat, name):
    out, err = chat("Hi!", f"/save {name}", "Bye!")
    assert "Give a file name" in out or "could not write" in out
    assert out.count("bot> ") == 2
    assert "Traceback" not in err


# -- Ctrl-C, in a real terminal


@pytest.fixture
def talkative_model_dir(tiny_model_dir, tmp_path):
    """The tiny model, its end piece all but impossible: a reply takes seconds."""
    import torch
    from transformers import AutoTokenizer

    from chatbot.meena import MeenaForConditionalGeneration

    model = MeenaForConditionalGeneration.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        model.model.shared.weight[model.config.eos_token_id] = 0
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    return tmp_path


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *arguments):
        self.screen, side = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chatbot.cli", *arguments],
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=os.environ | {"TERM": "dumb", "OMP_NUM_THREADS": "1"},
        )
        os.close(side)
        self.shown = ""

    def wait_for(self, text, *, seconds=120):
        """Reads until `text` is shown; what was shown up to it."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} did not come after {self.shown!r}"
            self.shown += os.read(self.screen, 65536).decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, text):
        os.write(self.screen, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


def test_ctrl_c_stops_the_reply_and_keeps_the_chat(talkative_model_dir):
    options = ("--candidates", "256", "--max-new-tokens", "128", "--device", "cpu")
    terminal = Terminal("chat", "--model", str(talkative_model_dir), *options)
    try:
        terminal.wait_for("you> ")
        terminal.type("Tell me a story\n")
        terminal.wait_for("token 2 of at most 128")
        terminal.type("\x03")
        assert "token 40 of" not in terminal.wait_for("(stopped; your message is at the prompt")
        terminal.wait_for("you> Tell me a story")
        terminal.type("\x15/history\n")  # Ctrl-U empties the line
        terminal.wait_for("Nothing was said yet.")
        terminal.wait_for("you> ")
        terminal.type("\x04")  # Ctrl-D
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
