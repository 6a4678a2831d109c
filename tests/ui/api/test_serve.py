"""The command `chatbot serve`: its options, and the chat page in the same process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ui.api import commands, scale
from ui.api.kept import KeptConversations, NoConversationError

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def asked(monkeypatch):
    """What the command would serve, instead of serving it."""
    calls = []
    monkeypatch.setattr(commands, "_serve_here", lambda *given: calls.append(given))
    return calls


def run(*arguments, **environment):
    return CliRunner().invoke(commands.app, list(arguments), env=environment)


def test_options_come_before_the_environment_and_that_before_defaults(asked):
    result = run("--max-batch", "3", CHATBOT_MAX_BATCH="5", CHATBOT_MAX_QUEUE="7")
    assert result.exit_code == 0, result.output
    ((serving, name, load, *_),) = asked
    assert (serving.max_batch, serving.max_queue, serving.max_body) == (3, 7, 1 << 20)
    assert (name, load.args, load.keywords) == ("meena", (None, "auto", "auto"), {"compile": False})


def test_how_the_model_is_loaded_can_be_told(asked):
    run("--device", "cpu", "--dtype", "int8", "--compile")
    run(CHATBOT_DEVICE="cpu", CHATBOT_DTYPE="int8", CHATBOT_COMPILE="1")
    for _, _, load, *_ in asked:
        assert (load.args, load.keywords) == ((None, "cpu", "int8"), {"compile": True})
    assert len(asked) == 2


def test_the_key_is_read_from_the_environment_and_never_shown(asked):
    run("--model", "some/folder", CHATBOT_API_KEY="secret")
    ((serving, name, *_),) = asked
    assert (serving.api_key, name) == ("secret", "folder")
    assert "secret" not in repr(serving)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--api-key", " "], "the API key is empty"),
        (["--replicas", "2"], "more than one need --engine ray"),
        (["--engine", "ray", "--ui"], "leave out --ui"),
        (["--engine", "ray", "--port", "0"], "give another --port"),
        (["--engine", "ray", "--store", ":memory:"], "give --store a FILE"),
    ],
)
def test_what_cannot_be_served_is_told(asked, arguments, told):
    result = run(*arguments)
    assert told in str(result.exception)
    assert asked == []


def test_the_page_is_shown_where_it_is_asked_for(asked):
    run()
    run("--ui", "--keep-days", "30", CHATBOT_DATA="chats.sqlite3")
    assert [call[-1] for call in asked] == [None, commands.Page("chats.sqlite3", 30)]


def test_conversations_are_kept_only_where_it_is_asked_for(asked, tmp_path):
    run()
    run("--store", str(tmp_path / "kept.sqlite3"))
    run(CHATBOT_STORE=":memory:")
    none, in_file, in_memory = (call[-2] for call in asked)
    assert none is None
    assert (tmp_path / "kept.sqlite3").exists()
    for kept in (in_file, in_memory):
        assert kept.read(kept.begin().id).messages == ()
        kept.close()


def test_old_conversations_are_deleted_at_the_start(asked, tmp_path):
    file = str(tmp_path / "kept.sqlite3")
    with contextlib.closing(KeptConversations(file)) as kept:
        old = kept.begin().id
    run("--store", file, "--keep-days", "0")
    kept = asked[0][-2]
    with contextlib.closing(kept), pytest.raises(NoConversationError):
        kept.read(old)


def test_replicas_load_the_model_as_it_was_asked_for(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(scale, "serve_on_ray", lambda *given, **named: calls.append((given, named)))
    file = str(tmp_path / "kept.sqlite3")
    result = run(
        *("--engine", "ray", "--replicas", "2", "--device", "cuda:0", "--dtype", "int8"),
        *("--compile", "--store", file, "--max-batch", "3"),
    )
    assert result.exit_code == 0, result.output
    (((replica,), named),) = calls
    assert (replica.load.args, replica.load.keywords) == (
        (None, "cuda:0", "int8"),
        {"compile": True},
    )
    assert (replica.n_gpus, replica.store, replica.serving.max_batch) == (1, file, 3)
    assert named == {"host": "127.0.0.1", "port": 8000, "replicas": 2}


def test_the_page_and_the_api_share_a_process_and_its_batches(serve, tiny_bot):
    from gradio_client import Client

    served = serve(tiny_bot, lambda app, service: commands.mount_page(app, service, ":memory:"))
    assert httpx.get(served.url, follow_redirects=True).url.path.rstrip("/") == "/ui"
    page = Client(f"{served.url}/ui/", verbose=False)
    try:
        # Who asks, what is said, then every setting as the page shows it at first.
        (send,) = (one for one in page.config["dependencies"] if one["api_name"] == "send")
        parts = {one["id"]: one for one in page.config["components"]}
        inputs = [parts[number] for number in send["inputs"]]
        kept, draft, *shown = (one for one in inputs if one["type"] != "state")
        assert (kept["type"], draft["type"]) == ("browserstate", "textbox")
        ann = {"id": "a" * 43, "conversation_id": None, "language": "en"}
        settings = [one["props"].get("value") for one in shown]
        end = page.predict(ann, "Hello!", *settings, api_name="/send")
    finally:
        page.close()
    assert "Hello!" in end[1]
    assert 'class="problem"' not in end[2]
    until = time.monotonic() + 20  # the reply is made beside the page
    while not served.metric("chatbot_batch_size_count") and time.monotonic() < until:
        time.sleep(0.05)
    assert served.metric("chatbot_batch_size_count") == 1
    assert served.client().models.list().data[0].id == "tiny"


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("--port", str(taken.getsockname()[1]))
    assert "cannot be listened at" in str(result.exception)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(process, url, limit_s=400):
    """Waits while libraries are imported and the model is loaded."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        assert process.poll() is None, f"the service ended with {process.returncode}"
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"{url} was not ready in {limit_s} s")


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tiny_model_dir, tmp_path):
    url = f"http://127.0.0.1:{(port := free_port())}"
    arguments = ["--port", port, "--model", tiny_model_dir, "--name", "tiny", "--ui"]
    arguments += ["--data", tmp_path / "chats.sqlite3", "--device", "cpu"]
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "ui.api.commands", *map(str, arguments)], cwd=ROOT, stderr=told
        )
    try:
        wait_until_ready(process, url)
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi!"}], "candidates": 3}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
        assert answer.json()["choices"][0]["message"]["content"]
        assert "<html" in httpx.get(f"{url}/ui/", timeout=120).text
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
    told = (tmp_path / "told").read_text()
    assert f"The API: {url}/v1" in told
    assert "The model is ready." in told
    assert "Traceback" not in told
