"""Laws of the whole repository: which way imports point, what starts light, what files hold."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "attribute_models": set(),
    "chatbot": {"attribute_models"},
    "eval": {"attribute_models", "chatbot"},
    "ui": {"attribute_models", "chatbot"},
}
"""The packages each package may import beside itself."""

ONLY_IN_UI = {"gradio", "gradio_client", "fastapi", "starlette", "uvicorn"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING_CALLS = {"torch.load", "torch.save", "pandas.read_pickle", "pd.read_pickle"}
NUMPY_LOAD = {"np.load", "numpy.load"}

MOST_BYTES = 50_000_000
PICKLED_OR_OPAQUE = {".bin", ".ckpt", ".h5", ".joblib", ".onnx", ".pickle", ".pkl", ".pt", ".pth"}
SHIPPED = {".json", ".jsonl", ".md", ".png", ".safetensors", ".svg"}
"""What may lie in `chatbot/pretrained/`."""


def imports(tree):
    """The absolute module names a file imports, wherever in the file, by any spelling."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                yield name.value


def problems(source, package):
    """What a file of `package` imports or calls against the laws; `package` may be "tests"."""
    tree = ast.parse(source)
    found = []
    for module in imports(tree):
        top = module.partition(".")[0]
        if package in MAY_IMPORT and top in MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}:
            found.append(f"{package} imports {module}")
        if top in ONLY_IN_UI and package not in ("ui", "tests", "benchmarks"):
            found.append(f"{module} outside ui")
        if top in UNPICKLERS:
            found.append(f"{module} unpickles")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [
                f"import {alias.name} replaces the builtin"
                for alias in node.names
                if alias.name.partition(".")[0] == "eval"
            ]
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append("a relative import: write the whole name")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in UNPICKLING_CALLS:
            # A test writes a pickle to see it refused; nothing else may.
            if (package, ast.unparse(node)) != ("tests", "torch.save"):
                found.append(f"{ast.unparse(node)} unpickles")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in NUMPY_LOAD:
            allowed = [one.value for one in node.keywords if one.arg == "allow_pickle"]
            found += ["allow_pickle" for one in allowed if ast.unparse(one) != "False"]
    return found


def python_files():
    folders = [*MAY_IMPORT, "tests", "benchmarks"]
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def repository_files():
    """Files that are committed or about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def cpu_seconds(code):
    """Least processor time of three fresh interpreters running `code`, start-up included.

    Not the time on the clock: that one doubles when another program keeps the machine busy.
    """
    return min(_cpu_seconds_once(code) for _ in range(3))


def _cpu_seconds_once(code):
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        message = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, message.decode()
    return usage.ru_utime + usage.ru_stime


# -- imports


@pytest.mark.parametrize("file", python_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way_and_nothing_unpickles(file):
    package = file.relative_to(ROOT).parts[0]
    assert problems(file.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("attribute_models", "import chatbot"),
        ("attribute_models", "from chatbot.types import Controls"),
        ("chatbot", "from eval.ssa import score"),
        ("chatbot", "def late():\n    from ui.app import main"),
        ("chatbot", "import importlib\nimportlib.import_module('eval.commands')"),
        ("eval", "from ui import app"),
        ("ui", "from eval.ssa import score"),
        ("chatbot", "import gradio as gr"),
        ("eval", "from fastapi import FastAPI"),
        ("tests", "import eval"),
        ("eval", "import eval.ssa"),
        ("chatbot", "from .errors import ChatbotError"),
        ("chatbot", "import pickle"),
        ("chatbot", "import torch\ntorch.load('weights.pt')"),
        ("chatbot", "import numpy as np\nnp.load('a.npy', allow_pickle=True)"),
    ],
)
def test_an_arrow_that_turns_round_is_seen(package, source):
    assert problems(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("chatbot", "from attribute_models.base import AttributeModel"),
        ("eval", "from eval.ssa import score\nfrom chatbot import Chatbot"),
        ("ui", "import gradio as gr\nfrom chatbot import Chatbot"),
        ("tests", "from eval.ssa import score\nfrom ui.app import main"),
        ("chatbot", "import numpy as np\nnp.load('a.npy', allow_pickle=False)"),
    ],
)
def test_what_is_allowed_is_not_reported(package, source):
    assert problems(source, package) == []


# -- packaging


def packaging():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["setuptools"]


def test_every_package_is_listed_by_hand():
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in MAY_IMPORT
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert set(packaging()["packages"]) == found


def test_every_file_a_package_reads_is_shipped():
    shipped = {
        file
        for package, patterns in packaging()["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    packages = tuple(ROOT / package for package in MAY_IMPORT)
    data = {
        file
        for file in repository_files()
        if file.suffix != ".py" and any(package in file.parents for package in packages)
    }
    assert data <= shipped


def test_tests_have_unique_names_and_no_packages():
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))


# -- light start


def test_importing_the_library_is_light():
    heavy = {"torch", "transformers", "tokenizers", "numpy", "gradio", "sentence_transformers"}
    code = f"import sys, chatbot; sys.exit(' '.join({heavy} & sys.modules.keys()) or 0)"
    assert cpu_seconds(code) < 0.3


def test_help_answers_at_once():
    code = "import sys; sys.argv = ['chatbot', '--help']; from chatbot.cli import main; main()"
    assert cpu_seconds(code) < 0.7


# -- files


def test_no_file_is_too_large():
    assert [file for file in repository_files() if file.stat().st_size > MOST_BYTES] == []


def test_weights_are_safetensors_only():
    assert [file for file in repository_files() if file.suffix in PICKLED_OR_OPAQUE] == []
    pretrained = ROOT / "chatbot" / "pretrained"
    shipped = {file.suffix for file in repository_files() if pretrained in file.parents}
    assert shipped <= SHIPPED
