"""Laws of reading and going on with JSONL files."""

import lzma

import pytest

from chatbot.errors import InputError
from eval.jsonl import read_lines, resumed

ADDED = {"n"}
RECORDS = [{"id": i, "text": f"줄 {i}"} for i in range(5)]


def accept(line):
    """Every record is good."""


def copy(lines, out, *, stop_after=None):
    """Adds `n` to every line that is still missing, or to some."""
    with resumed(out, lines, ADDED) as output:
        missing = lines[len(output.done) :]
        for line in missing[:stop_after]:
            output.write(line.record | {"n": line.number})


def test_plain_and_compressed_files_read_the_same(write_jsonl):
    plain = read_lines(write_jsonl("a.jsonl", RECORDS), accept)
    packed = read_lines(write_jsonl("a.jsonl.xz", RECORDS), accept)
    assert [line.record for line in plain] == [line.record for line in packed] == RECORDS
    assert [line.number for line in plain] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "bad.jsonl is empty"),
        ([{"a": 1}, "{"], "bad.jsonl, line 2: .*expected one JSON object"),
        ([{"a": 1}, ""], "bad.jsonl, line 2: .*expected one JSON object"),
        ([{"a": 1}, "[1]"], "bad.jsonl, line 2: expected one JSON object, found list"),
        (["[" * 100_000], "bad.jsonl, line 1"),
    ],
)
def test_a_bad_line_is_named(write_jsonl, content, message):
    with pytest.raises(InputError, match=message):
        read_lines(write_jsonl("bad.jsonl", content), accept)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl does not exist"):
        read_lines(tmp_path / "none.jsonl", accept)
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}\n')
    with pytest.raises(InputError, match=r"latin\.jsonl, after line 0.*UTF-8"):
        read_lines(tmp_path / "latin.jsonl", accept)
    (tmp_path / "cut.jsonl.xz").write_bytes(lzma.compress(b'{"a": 1}\n' * 1000)[:-30])
    with pytest.raises(InputError, match=r"cut\.jsonl\.xz, after line \d+.*xz"):
        read_lines(tmp_path / "cut.jsonl.xz", accept)
    with pytest.raises(InputError, match="after line 0"):
        read_lines(tmp_path, accept)


@pytest.mark.parametrize("n_done", [0, 1, 4, 5])
@pytest.mark.parametrize("torn", [b"", b'{"id": 4, "te'])
def test_a_run_cut_off_and_gone_on_with_gives_the_same_bytes(write_jsonl, tmp_path, n_done, torn):
    lines = read_lines(write_jsonl("in.jsonl", RECORDS), accept)
    copy(lines, tmp_path / "whole.jsonl")
    copy(lines, tmp_path / "parts.jsonl", stop_after=n_done)
    with (tmp_path / "parts.jsonl").open("ab") as file:
        file.write(torn)
    copy(lines, tmp_path / "parts.jsonl")
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_lone_surrogates_come_through(write_jsonl, tmp_path):
    lines = read_lines(write_jsonl("in.jsonl", [r'{"id": "\ud800", "text": "é한"}']), accept)
    copy(lines, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text("utf-8") == (
        '{"id": "\\ud800", "text": "é한", "n": 1}\n'
    )
    copy(lines, tmp_path / "out.jsonl")


def test_an_output_of_something_else_is_refused_and_kept(write_jsonl, tmp_path):
    lines = read_lines(write_jsonl("in.jsonl", RECORDS), accept)
    other = write_jsonl("other.jsonl", [{"id": 0, "text": "other", "n": 1}])
    longer = write_jsonl("longer.jsonl", [r | {"n": 1} for r in [*RECORDS, *RECORDS]])
    plain = write_jsonl("plain.jsonl", RECORDS)
    for out, message in [
        (other, "line 1: not made from line 1"),
        (longer, "has 10 lines, more than the 5"),
        (plain, "line 1: not made from"),
        (lines[0].path, "is the input itself"),
        (tmp_path / "out.jsonl.xz", "plain .jsonl name"),
        (tmp_path / "nowhere" / "out.jsonl", "cannot write"),
    ]:
        before = out.read_bytes() if out.exists() else None
        with pytest.raises(InputError, match=message), resumed(out, lines, ADDED):
            pass
        assert (out.read_bytes() if out.exists() else None) == before
