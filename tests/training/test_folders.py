"""Laws of replacing a folder."""

import errno

import pytest

from chatbot.errors import ChatbotError
from chatbot.training.folders import replace_folder, settle_folder


def writing(text):
    return lambda folder: (folder / "file").write_text(text)


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "a" / "b"
    for text in ("one", "two"):
        replace_folder(target, writing(text))
        assert (target / "file").read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError()])
def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path, error):
    target = tmp_path / "b"
    replace_folder(target, writing("one"))

    def fail(folder):
        (folder / "file").write_text("half")
        raise error

    expected = ChatbotError if isinstance(error, OSError) else KeyError
    with pytest.raises(expected) as raised:
        replace_folder(target, fail)
    if expected is ChatbotError:
        assert "No space left on device" in str(raised.value)
    assert (target / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_program_killed_between_the_renames_loses_nothing(tmp_path):
    target = tmp_path / "b"
    replace_folder(target, writing("one"))
    target.rename(tmp_path / ".b.old")  # where the kill leaves it
    settle_folder(target)
    assert (target / "file").read_text() == "one"
    target.rename(tmp_path / ".b.old")
    replace_folder(target, writing("two"))
    assert (target / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
