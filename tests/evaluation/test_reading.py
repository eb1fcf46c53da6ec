"""Files that others wrote, and texts out of their code: places in messages, nothing executed."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.protocol import text_constant
from nemo_desta.evaluation.reading import files_in, read_entries, read_jsonl, text_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_list_and_lines_of_the_same_objects_read_alike(tmp_path_factory, rows: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n\n" for r in rows))
    assert [e for _, e in read_entries(folder / "a.json")] == [e for _, e in read_entries(folder / "a.jsonl")] == rows


def test_a_last_line_that_was_cut_off_is_called_so_and_one_in_the_middle_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    with pytest.raises(EvaluationError, match=r"a\.jsonl:2: .*the last line is cut off"):
        list(read_jsonl(path))
    path.write_text('{"a": \n{"a": 1}\n')
    with pytest.raises(EvaluationError, match=r"a\.jsonl:1: .*mend the line"):
        list(read_jsonl(path))


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n[1]\n')
    with pytest.raises(EvaluationError, match=r"a\.jsonl:3: must be a JSON object, it is \[1\] \(list\)"):
        list(read_jsonl(tmp_path / "a.jsonl"))


def test_hidden_files_and_other_kinds_are_left_out_of_a_folder(tmp_path: Path) -> None:
    for name in ("b/x.json", "a.jsonl", ".hidden.json", ".git/y.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [p.relative_to(tmp_path).as_posix() for p in files_in(tmp_path)] == ["a.jsonl", "b/x.json"]


def test_an_empty_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"holds no \.json or \.jsonl file"):
        files_in(tmp_path)
    with pytest.raises(EvaluationError, match="does not exist"):
        files_in(tmp_path / "gone")


def test_a_missing_key_is_told_with_those_that_are_there() -> None:
    with pytest.raises(EvaluationError, match="x:1: 'response' is missing; there are: id, label"):
        text_of({"id": 1, "label": "a"}, "response", "x:1")
    with pytest.raises(EvaluationError, match=r"'id' must be text, it is 1 \(int\)"):
        text_of({"id": 1}, "id", "x:1")


def test_a_text_is_read_wherever_it_is_assigned_and_nothing_is_run(tmp_path: Path) -> None:
    path = tmp_path / "judge.py"
    path.write_text("raise SystemExit\ndef f():\n    prompt = '''one\ntwo'''\n    other = 3\n")
    assert text_constant(path, "prompt") == "one\ntwo"


@pytest.mark.parametrize(
    ("code", "told"),
    [("x = 'a'", "0 texts"), ("p = 'a'\np = 'b'", "2 texts"), ("p = f()", "0 texts"), ("p = (", "cannot be read")],
)
def test_a_clone_of_another_version_is_told(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "judge.py").write_text(code)
    with pytest.raises(EvaluationError, match=told):
        text_constant(tmp_path / "judge.py", "p")
