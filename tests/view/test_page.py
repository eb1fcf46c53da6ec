"""The page: complete, self-contained, deaf to what stands in the data, and honest where there is no audio."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from nemo_desta.errors import ConfigError
from nemo_desta.view.page import write_view
from nemo_desta.view.sound import frequency_marks, show_clip
from tests.demo.fake import HOSTILE


def record(row_id="r0", audio="a.wav", text=HOSTILE, **more):
    user = {"role": "user", "content": text, "audios": [{"audio": audio, "text": text}]}
    provenance = {"kind": text, text: {text: [1]}, "num_tokens": 3}
    fields = ("dataset", "seed_description", "prompt", "response", "reason")
    return {"id": row_id, **dict.fromkeys(fields, text), "messages": [user], "provenance": provenance, **more}


def write(folder: Path, **files):
    for name, rows in files.items():
        path = folder / name.replace("__", "/") if "__" in name else folder / name
        path = path.with_suffix(".jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(np.arange(16_000) * 0.3), 16_000)
    return tmp_path


class Page(HTMLParser):
    """Elements with their attributes, texts of the articles, and whether every tag was closed."""

    VOID = frozenset(["meta", "link", "img", "input", "rect", "line"])

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "article":
            self.texts.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "article" in self.open:
            self.texts[-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def test_a_row_shows_all_that_is_known_of_it(folder):
    write(folder, filtered__records=[record(text="seen here", row_id="row 7", reason="betrays_text")])
    page = Page(write_view(folder))
    (text,) = page.texts
    for part in (
        "filtered",
        "row 7",
        "betrays_text",
        "a.wav",
        "said: seen here",
        "prompt",
        "response",
        "records.jsonl:1",
    ):
        assert part in text
    (audio,), (picture,) = page.all("audio"), page.all("img")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["src"].removeprefix("data:audio/mpeg;base64,"))))
    assert rate == 16_000 and 16_000 <= len(samples) < 20_000 and np.abs(samples).max() > 0.2
    assert Image.open(io.BytesIO(base64.b64decode(picture["src"].removeprefix("data:image/png;base64,")))).size[1] == 96


def test_text_from_the_data_is_never_markup(folder):
    write(folder, records=[record(audio=HOSTILE), record()], failed__records=[record(reason=HOSTILE)])
    page = Page(write_view(folder))
    assert len(page.all("script")) == 1 and "alert('x')</script>" not in page.source
    assert all(a["src"].startswith("data:") for a in page.all("img")) and "49" not in "".join(page.texts)
    assert all(HOSTILE in text for text in page.texts)
    assert not any(name.startswith("on") for _, attrs in page.found for name in attrs)


def test_the_policy_admits_the_pages_own_script_only(folder):
    write(folder, records=[record()])
    page = Page(write_view(folder))
    script = re.search(r"<script>(.*)</script>", page.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy
    assert "http" not in policy and not re.search(r"(src|href)=\"http", page.source)


def test_control_characters_become_visible(folder):
    write(folder, records=[record(text="a\x00b\x1b[31mc\u202ed\ud800e\u200bf\x7f", audio="\x00.wav")])
    source = write_view(folder).read_text(encoding="utf-8")
    assert "a␀b␛[31mc⟨U+202E⟩d⟨U+D800⟩e⟨U+200B⟩f␡" in source
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", source)


def test_rows_without_audio_say_so(folder):
    write(folder, records=[record(audio="gone.wav"), record(audio="../a.wav"), record(messages=[])])
    (folder / "bad.wav").write_bytes(b"x")
    write(folder, missing=[{"id": "m", "dataset": "GTZAN", "audio": ["GTZAN/b.wav"], "reason": "no file GTZAN/b.wav"}])
    texts = " ".join(Page(write_view(folder)).texts)
    assert "gone.wav: no such audio file" in texts and "leaves the data root" in texts
    assert "This row names no clip." in texts and "no file GTZAN/b.wav" in texts


def test_where_audio_is_looked_for(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write(other, records=[record()])
    assert not Page(write_view(other)).all("audio")
    assert Page(write_view(other, audio_root=folder)).all("audio")
    (other / "manifest.json").write_text(json.dumps({"audio_root": str(folder)}))
    assert Page(write_view(other)).all("audio")
    with pytest.raises(ConfigError, match="no such folder"):
        write_view(other, audio_root=other / "nowhere")


def test_filters_offer_what_there_is(folder):
    kinds = ["question", "format"]
    write(folder, records=[record(provenance={"kind": k}) for k in kinds], filtered__records=[record(provenance=None)])
    page = Page(write_view(folder))
    assert {(a["data-verdict"], a["data-kind"]) for a in page.all("article")} == {
        ("ok", "question"),
        ("ok", "format"),
        ("filtered", "(not stated)"),
    }
    assert all(f">{k}</option>" in page.source for k in ("ok", "filtered", "question", "format", "(not stated)"))


def test_rows_and_output_are_as_asked_for(folder):
    write(folder, records=[record(f"r{n}", text="x") for n in range(20)])
    path = write_view(folder, rows=4, output=folder / "pages" / "mine.html")
    assert path == folder / "pages" / "mine.html" and len(Page(path).texts) == 4
    assert write_view(folder, rows=4).read_text() == path.read_text(), "the same draw every time"
    with pytest.raises(ConfigError, match="--rows 0"):
        write_view(folder, rows=0)


@pytest.mark.parametrize(
    "samples", [np.zeros(16_000), np.full(1, 0.5), np.random.default_rng(0).uniform(-1, 1, 29 * 16_000)]
)
def test_any_clip_can_be_drawn(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    shown = show_clip(tmp_path, "a.wav", None)
    picture = Image.open(io.BytesIO(base64.b64decode(shown.picture.partition(",")[2])))
    assert shown.problem == "" and 1 <= picture.size[0] <= 722
    if not samples.any():
        assert np.asarray(picture).max() == 0, "silence is dark"


def test_a_tone_stands_at_its_frequency(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 2000 * np.arange(16_000) / 16_000), 16_000)
    picture = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(show_clip(tmp_path, "a.wav", None).picture.partition(",")[2])))
    )
    brightest = 100 * (1 - (picture.mean(axis=1).argmax() + 0.5) / len(picture))
    assert abs(brightest - dict(frequency_marks())["2 kHz"]) < 2
