"""Records: what is valid comes back equal, what is not is named by file, line and id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.errors import RecordError
from nemo_desta.record import AudioRef, Message, Record, parse_messages, read_records, resolve_audio, write_records

plain = st.text(max_size=30).map(lambda s: s.replace("<|AUDIO|>", ""))
refs = st.builds(AudioRef, st.text(min_size=1, max_size=20), st.none() | plain)


@st.composite
def message(draw):
    audios = tuple(draw(st.lists(refs, max_size=2)))
    content = draw(plain)
    for _ in audios:
        content += "<|AUDIO|>" + draw(plain)
    if content.count("<|AUDIO|>") != len(audios):  # two halves of a locator met
        content = "<|AUDIO|>" * len(audios)
    return Message(draw(st.sampled_from(["system", "user", "assistant"])), content, audios)


records = st.builds(
    Record,
    id=st.text(min_size=1, max_size=10),
    messages=st.lists(message(), min_size=1, max_size=3).map(tuple),
    response=plain,
    dataset=plain,
    seed_description=plain,
    prompt=plain,
    provenance=st.none() | st.dictionaries(plain, plain, max_size=2),
)


@given(records)
def test_a_record_survives_its_json(item):
    assert Record.from_dict(json.loads(json.dumps(item.to_dict()))) == item


def test_a_file_of_records_comes_back_in_order(tmp_path):
    rows = [Record(str(i), (Message("user", "line\u2028sep \U0001f600 \r"),), "ok\n") for i in range(3)]
    assert write_records(tmp_path / "new" / "r.jsonl", rows) == 3
    assert list(read_records(tmp_path / "new" / "r.jsonl")) == rows


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.jsonl"
    write_records(path, [Record("old", (Message("user", "x"),), "y")])

    def broken():
        yield Record("new", (Message("user", "x"),), "y")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_records(path, broken())
    assert [r.id for r in read_records(path)] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]


def test_the_official_schema_loads_unchanged(tmp_path):
    official = {
        "id": "x/1", "dataset": "ESC50", "seed_description": "[00:00-00:05] (Audio category: rain)", "prompt": "What is it?",
        "messages": [
            {"role": "system", "content": "Focus."},
            {"role": "user", "content": "<start_audio><|AUDIO|><end_audio>\n\nWhat is it?", "audios": [{"audio": "a.wav", "text": " "}]},
        ],
        "response": "Rain.",
    }  # fmt: skip
    (tmp_path / "f.jsonl").write_text("\ufeff" + json.dumps(official) + "\n\n", encoding="utf-8")
    (item,) = read_records(tmp_path / "f.jsonl")
    assert item.to_dict() == official
    assert item.audios == (AudioRef("a.wav", " "),)


GOOD = {"id": "a", "messages": [{"role": "user", "content": "hi"}], "response": "x"}
CLIP = {"audio": "a.wav", "text": " "}


def _user(**changes):
    return {**GOOD, "messages": [{"role": "user", "content": "hi", **changes}]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([], "a record is a JSON object"),
        ({"id": "a", "messages": GOOD["messages"]}, "'response' is missing"),
        ({"id": "a", "response": "x"}, "'messages' is missing"),
        ({**GOOD, "id": ""}, "'id' must be a non-empty string"),
        ({**GOOD, "id": None}, "'id' must be a non-empty string"),
        ({**GOOD, "response": 3}, "'response' must be a string"),
        ({**GOOD, "seed_description": ["x"]}, "'seed_description' must be a string"),
        ({**GOOD, "provenance": "x"}, "'provenance' must be an object"),
        ({**GOOD, "messages": []}, "non-empty list"),
        ({**GOOD, "messages": ["hi"]}, "message 0 must be an object"),
        (_user(role="tool"), "unknown role 'tool'; use one of system, user, assistant"),
        (_user(content=None), "content must be a string"),
        (_user(audios="a.wav"), "audios must be a list"),
        (_user(audios=[CLIP]), "has 0 <|AUDIO|> but 1 clips"),
        (_user(content="<|AUDIO|> and <|AUDIO|>", audios=[CLIP]), "has 2 <|AUDIO|> but 1 clips"),
        (_user(content="<|AUDIO|>", audios=[{"text": "x"}]), "clip 0 must be an object with the path"),
        (_user(content="<|AUDIO|>", audios=[{"audio": "a.wav", "text": 1}]), "text must be a string, or null"),
        (_user(content="half \ud800"), "half a surrogate pair"),
        (_user(content="<|AUDIO|>", audios=[{"audio": "a.wav", "text": "\udc00"}]), "half a surrogate pair"),
    ],
)
def test_a_bad_record_is_named_by_file_line_and_id(tmp_path, row, said):
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(row) + "\n")
    found = read_records(path)
    assert next(found).id == "a"
    with pytest.raises(RecordError) as err:
        next(found)
    assert said in str(err.value)
    assert f"{path}:2" in str(err.value)
    if isinstance(row, dict) and row["id"] == "a" and "missing" not in said:
        assert "(id a)" in str(err.value)


@pytest.mark.parametrize("line", [b'{"id": "a", ', b"\xff\xfe{", b"[" * 100_000, b"nonsense"])
def test_malformed_json_is_named_by_file_and_line(tmp_path, line):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"\n" + line + b"\n")
    with pytest.raises(RecordError, match=r"f\.jsonl:2: not valid JSON"):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"nowhere\.jsonl: no such file"):
        list(read_records(tmp_path / "nowhere.jsonl"))


def test_messages_given_as_objects_pass(tmp_path):
    turns = (Message("user", "hi"),)
    assert parse_messages(list(turns)) == turns
    assert parse_messages([{"role": "user", "content": "<|AUDIO|>", "audios": ["a.wav"]}])[0].audios == (
        AudioRef("a.wav"),
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.wav", "a/../../x.wav", "a/.."])
def test_a_clip_cannot_leave_the_data_root(path):
    with pytest.raises(RecordError, match="leaves the data root"):
        resolve_audio("root", path)


def test_a_clip_lies_under_the_root_or_anywhere_without_one():
    assert str(resolve_audio("root", "a/b.wav")) == "root/a/b.wav"
    assert str(resolve_audio(None, "/x/../b.wav")) == "/x/../b.wav"
