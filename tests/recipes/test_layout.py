"""Tables and counted faults: nothing that a corpus holds is lost without a word."""

import csv
import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.corpus import Clip, CorpusInfo, read_clips
from nemo_desta.recipes.layout import Faults, read_table
from tests.recipes.layouts import tone

_INFO = CorpusInfo("Test", "none", "nobody", "nowhere", "sound")
_FIELD = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@given(st.lists(st.lists(_FIELD, min_size=1, max_size=4), max_size=8))
def test_every_row_of_a_table_is_read_or_counted(tmp_path_factory, rows):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["a", "b", "c"], *rows])
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    faults = Faults("Test", 1.0)
    read = [list(row.values()) for _, row in read_table(path, ("a", "c"), faults)]
    assert read == [row for row in rows if len(row) == 3]
    assert len(faults.bad) == sum(len(row) != 3 for row in rows)


@pytest.mark.parametrize("content", [b"a,b\n\xff\xfe,1\n", b"a,b\n\0,1\n" + b'"' + b"x" * 200_000])
def test_a_table_that_is_no_csv_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"t.csv: not readable as CSV in UTF-8"):
        list(read_table(tmp_path / "t.csv", ("a",), Faults("Test", 1.0)))


def test_an_empty_table_lacks_its_columns(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"t.csv:1: no column a, b; the header is empty"):
        list(read_table(tmp_path / "t.csv", ("a", "b"), Faults("Test", 1.0)))


@pytest.mark.parametrize(("bad", "good", "fatal"), [(0, 1, False), (1, 99, False), (2, 98, True), (5, 0, True)])
def test_the_share_of_faults_decides(bad, good, fatal):
    faults = Faults("Test", 0.01)
    for number in range(bad):
        faults.add(f"x:{number}", "broken")
    if fatal:
        with pytest.raises(ConfigError, match="x:0: broken"):
            faults.check(good)
    else:
        faults.check(good)


def test_many_faults_are_counted_and_the_first_ones_shown(caplog):
    faults = Faults("Test", 0.5, known=["old"])
    for number in range(25):
        faults.add(f"x:{number}", "broken")
    faults.add("folder/old.wav", "broken")
    assert caplog.text.count("left out x:") == 10
    with pytest.raises(ConfigError, match=r"25 of 35 clips.*(.|\n)*x:9: broken(.|\n)*and 15 more"):
        faults.check(10)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        faults.check(25)
    assert "25 clips kept, 25 left out, and 1 known to be broken" in caplog.text


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match="max_bad"):
        Faults("Test", share)


def test_audio_that_cannot_be_used_is_told_apart(tmp_path):
    tone(tmp_path / "good.wav")
    tone(tmp_path / "again" / "good.wav")
    tone(tmp_path / "silent.wav", seconds=0)
    (tmp_path / "text.wav").write_text("no audio")
    names = ("good.wav", "again/good.wav", "silent.wav", "text.wav", "missing.wav")
    faults = Faults("Test", 1.0)
    parts = read_clips([Clip(tmp_path / name) for name in names], _INFO, faults, num_jobs=2)
    assert [recording.id for recording, _ in parts["all"]] == ["good"]
    assert [fault.removeprefix(str(tmp_path) + "/") for fault in faults.bad] == [
        f"again/good.wav: the corpus holds {tmp_path / 'good.wav'} of the same name already",
        "silent.wav: audio without a sample",
        "text.wav: no audio that can be decoded (8 bytes)",
        "missing.wav: no such file",
    ]
