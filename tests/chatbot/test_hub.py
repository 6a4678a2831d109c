"""Laws of finding models: what is on this machine is taken, what is not is told in one line.

The hub is a small server on this machine that answers as the real one does.
"""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from chatbot import ModelError, hub

NAME = "someone/tiny"
COMMITS = {"main": "a" * 40, "v1": "b" * 40}
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}
SENTENCES = MODEL | {"modules.json": b"[]", "1_Pooling/config.json": b"{}"}


class FakeHub(ThreadingHTTPServer):
    """Has one model; `refuses` is a status and code it answers with, `asked` what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = dict(MODEL)
        self.refuses: tuple[int, str] | None = None
        self.refuses_files = False
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        is_file = "/resolve/" in path
        if self.server.refuses and (is_file or not self.server.refuses_files):
            status, code = self.server.refuses
            return self.answer(b"", status, {"X-Error-Code": code, "X-Error-Message": "no"})
        if is_file:
            commit, _, file = path.partition("/resolve/")[2].partition("/")
            content = self.server.files[file]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            return self.answer(content, 200, {"ETag": etag, "X-Repo-Commit": commit})
        if "/tree/" in path:
            told = [
                {"type": "file", "path": file, "size": len(content), "oid": "0" * 40}
                for file, content in self.server.files.items()
            ]
        else:
            commit = COMMITS[path.partition("/revision/")[2] or "main"]
            siblings = [{"rfilename": file} for file in self.server.files]
            told = {"id": NAME, "sha": commit, "siblings": siblings}
        return self.answer(json.dumps(told).encode(), 200, {"Content-Type": "application/json"})

    def answer(self, content, status, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty folder where downloaded models lie."""
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def online(monkeypatch):
    """The hub, which can be reached."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with FakeHub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
        place = f"http://127.0.0.1:{server.server_port}"
        files = place + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub.constants, "ENDPOINT", place)
        monkeypatch.setattr(hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        yield server
        server.shutdown()


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def keep(cache, files, revision="main"):
    """Puts files where a download puts them."""
    place = cache / "models--someone--tiny"
    write(place / "refs", {revision: COMMITS[revision].encode()})
    return write(place / "snapshots" / COMMITS[revision], files)


def found(folder):
    return {str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file()}


def refused(name=NAME, **settings):
    with pytest.raises(ModelError) as raised:
        hub.find_model(name, **settings)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


# -- from the hub


def test_what_was_downloaded_is_found_without_asking_again(online, monkeypatch):
    online.files["README.md"] = online.files["onnx/model.json"] = b"not read here"
    folder = hub.find_model(NAME)
    assert found(folder) == MODEL.keys()
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    asked = len(online.asked)
    assert hub.find_model(NAME) == folder
    assert hub.find_model(f"{NAME}@{COMMITS['main']}") == folder
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.find_model(NAME) == folder
    assert len(online.asked) == asked


def test_a_revision_is_a_model_of_its_own(online):
    first = hub.find_model(NAME)
    online.files["model.safetensors"] = b"other weights"
    other = hub.find_model(f"{NAME}@v1")
    assert other == hub.find_model(NAME, revision="v1") != first
    assert hub.digest_of_weights(other) != hub.digest_of_weights(first)
    assert "give one of them" in refused(f"{NAME}@v1", revision="main")


def test_modules_of_a_sentence_model_are_fetched_with_it(online):
    online.files |= SENTENCES | {"checkpoint/model.safetensors": b"old"}
    assert found(hub.find_model(NAME)) == SENTENCES.keys()


def test_what_a_broken_download_left_out_is_fetched(cache, online):
    keep(cache, {"config.json": b"{}"})
    assert found(hub.find_model(NAME)) == MODEL.keys()


def test_pickled_weights_are_fetched_only_when_asked_for_and_there_are_no_others(online):
    online.files["pytorch_model.bin"] = b"pickled"
    assert "pytorch_model.bin" not in found(hub.find_model(NAME, allow_pickle=True))
    del online.files["model.safetensors"]
    told = refused(f"{NAME}@v1")
    assert "--allow-pickle" in told
    assert "allow_pickle=True" in told
    assert "pytorch_model.bin" in found(hub.find_model(f"{NAME}@v1", allow_pickle=True))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, "GatedRepo"), ["gated: accept its licence", "HF_TOKEN"]),
        ((401, "RepoNotFound"), ["no such model", "spelling", "HF_TOKEN"]),
        ((404, "RevisionNotFound"), ["at revision v9", "fix the revision"]),
        ((403, ""), ["status 403", "HF_TOKEN"]),
        ((500, ""), ["could not download", "HF_HOME", "try again"]),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_next_step(online, answer, told):
    online.refuses = answer
    text = refused(revision="v9")
    assert [part for part in told if part not in text] == []


def test_files_that_the_hub_refuses_are_told_as_well(online):
    online.refuses, online.refuses_files = (403, "GatedRepo"), True
    assert "is gated" in refused()


def test_a_hub_that_cannot_be_reached_is_told_at_once(online, monkeypatch):
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    begin = time.perf_counter()
    told = refused()
    for part in ("cannot be reached", "HF_ENDPOINT", "HF_HOME", "no folder someone/tiny"):
        assert part in told
    assert time.perf_counter() - begin < hub.WAIT_S


# -- without network


def test_offline_says_which_variable_and_which_file(cache):
    told = refused()
    assert "HF_HUB_OFFLINE is set" in told
    assert "HF_HOME" in told
    keep(cache, {"config.json": b"{}"})
    assert "lacks model.safetensors" in refused()
    assert "at revision v1" in refused(revision="v1")
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    keep(cache, {"model.safetensors.index.json": index.encode(), "model-1.safetensors": b"1"})
    assert "lacks model-2.safetensors" in refused()


def test_what_was_downloaded_is_taken_without_the_network(cache):
    folder, other = keep(cache, MODEL), keep(cache, MODEL, "v1")
    assert hub.find_model(NAME) == folder
    assert hub.find_model(f"{NAME}@v1") == other


@pytest.mark.parametrize("name", ["no/such/folder", "/nowhere", "~/nowhere", "two words", "a@"])
def test_what_is_no_name_is_taken_for_a_folder(name):
    assert "there is no folder" in refused(name)


def test_what_the_hub_calls_no_name_is_refused():
    assert "give OWNER/MODEL" in refused("some--one/tiny")


# -- folders


@pytest.mark.parametrize(
    ("left_out", "told"),
    [("config.json", "has no config.json"), ("model.safetensors", "there is no model.safetensors")],
)
def test_a_folder_without_a_model_is_refused(tmp_path, left_out, told):
    write(tmp_path, {name: content for name, content in MODEL.items() if name != left_out})
    assert told in refused(tmp_path)


def test_a_folder_has_no_revision_and_a_file_is_none(tmp_path):
    write(tmp_path, MODEL)
    assert hub.find_model(tmp_path) == tmp_path
    assert "has no revision 'v1'" in refused(tmp_path, revision="v1")
    assert "give the folder it lies in" in refused(tmp_path / "config.json")


def test_weights_of_a_module_count_in_sentence_models_alone(tmp_path):
    write(tmp_path, {"config.json": b"{}", "0_Transformer/model.safetensors": b"weights"})
    assert "has no weights" in refused(tmp_path)
    write(tmp_path, {"modules.json": b"[]"})
    assert hub.find_model(tmp_path) == tmp_path
    write(tmp_path, {"2_Dense/pytorch_model.bin": b"pickled"})
    assert "2_Dense/pytorch_model.bin" in refused(tmp_path)
    assert hub.find_model(tmp_path, allow_pickle=True) == tmp_path


def test_every_shard_must_be_there(tmp_path):
    write(tmp_path, {"config.json": b"{}", "model-1.safetensors": b"1"})
    index = tmp_path / "model.safetensors.index.json"
    for broken in ("{", "[]", '{"weight_map": 1}'):
        index.write_text(broken)
        assert "is no index of weights" in refused(tmp_path)
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    assert "lacks 1 of its weight files (model-2.safetensors)" in refused(tmp_path)
    write(tmp_path, {"model-2.safetensors": b"2"})
    assert hub.find_model(tmp_path) == tmp_path


# -- digests


def test_a_digest_is_of_the_bytes_wherever_they_lie(tmp_path):
    here = write(tmp_path / "here", MODEL)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert hub.digest_of_weights(here) == digest  # what the shipped heads are kept by
    linked = write(tmp_path / "linked", MODEL)
    blob = write(tmp_path / "blobs", {digest: b"weights"}) / digest
    (linked / "model.safetensors").unlink()
    (linked / "model.safetensors").symlink_to(blob)
    assert hub.digest_of_model(linked) == hub.digest_of_model(here)
    assert hub.digest_of_file(linked / "model.safetensors") == digest
    write(linked, {"config.json": b"[]"})
    assert hub.digest_of_model(linked) != hub.digest_of_model(here)
