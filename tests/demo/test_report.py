"""The report: complete, self-contained, and deaf to what stands in the data."""

import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from nemo_desta.demo.charts import interval_mark, loss_chart
from nemo_desta.demo.report import verdicts, write_report
from nemo_desta.ticks import nice_ticks
from tests.demo.fake import HOSTILE, fake_output, interval


class _Elements(HTMLParser):
    """Every tag with its attributes, and whether each was closed."""

    void = frozenset(["meta", "link", "img", "br", "line", "circle", "polyline", "input", "rect"])

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path):
    return write_report(fake_output(tmp_path, HOSTILE), tmp_path).read_text(encoding="utf-8")


def test_hostile_text_stays_text(page):
    parsed = _Elements(page)
    assert parsed.open == []
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in parsed.found}
    assert not [a for _, attributes in parsed.found for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page
    assert "{{ 7 * 7 }}" in page and "49" not in re.findall(r"\{\{.*?\}\}|alert.{40}", page)


def test_nothing_is_fetched(page):
    for tag, attributes in _Elements(page).found:
        for name in ("src", "href", "srcset", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    assert not re.search(r"@import|url\(", page)


def test_every_clip_has_a_player_and_three_answers_a_question(page):
    players = [a for tag, a in _Elements(page).found if tag == "audio"]
    assert len(players) == 3 and all(len(a["src"]) > 1000 for a in players)
    assert (
        page.count("<span>backbone, metadata</span>")
        == page.count("<span>trained model</span></td><td>The speaker")
        == 6
    )


def test_verdicts_follow_the_intervals(tmp_path):
    evaluation = fake_output(tmp_path)["stages"]["evaluation"]["result"]
    found = verdicts(evaluation)
    assert found["loss_beaten"] == ["untrained", "zero", "shuffle"] and found["loss_not_beaten"] == []
    assert (found["heard"], found["some"], found["not_heard"]) == (["gender"], ["speaking speed"], ["noise"])
    evaluation["loss"]["test_unseen_voices"]["conditions"]["shuffle"]["difference"] = interval(0.05, 0.1)
    assert verdicts(evaluation)["loss_not_beaten"] == ["shuffle"]


def test_the_example_shows_the_metadata_of_its_clip(tmp_path):
    text = write_report(fake_output(tmp_path), tmp_path).read_text()
    assert "gender: female\nnoise: The train leaves at noon." in text


def test_what_did_not_work_is_said(tmp_path):
    results = fake_output(tmp_path)
    results["stages"]["evaluation"]["result"]["loss"]["test_unseen_voices"]["conditions"]["zero"]["difference"] = (
        interval(-0.1, 0.05)
    )
    text = write_report(results, tmp_path).read_text()
    assert "Not shown:" in text and "Not learnt:</strong> noise" in text


def test_a_report_without_the_untrained_method_or_curves(tmp_path):
    results = fake_output(tmp_path)
    for split in results["stages"]["evaluation"]["result"]["closed"].values():
        for question in split.values():
            question["methods"].pop("untrained", None)
    (tmp_path / "training" / "tables" / "train.csv").unlink()
    (tmp_path / "training" / "tables" / "validation.csv").unlink()
    assert "Held-out loss" in write_report(results, tmp_path).read_text()


def test_charts_escape_and_stay_on_their_scale():
    assert isinstance(loss_chart({"train": [(1, 2.0)]}), Markup)
    assert "&lt;b&gt;" in interval_mark(interval(0.5), style="<b>")
    far = interval_mark({"value": 0.5, "low": -3.0, "high": 9.0})
    assert all(2 <= float(x) <= 118 for x in re.findall(r'x[12]="([\d.-]+)"', far))
    assert "not defined" in interval_mark(interval(None))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 90, [0, 20, 40, 60, 80, 100]), (2.1, 4.0, [2, 2.5, 3, 3.5, 4]), (1, 1, [1, 1.2, 1.4, 1.6, 1.8, 2])],
)
def test_ticks_are_round(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_the_benchmark_stands_beside_its_baselines_and_chance(page):
    section = page.partition("A benchmark by its rules")[2].partition("<h2>")[0]
    assert re.search(r"desta</th>.*cascade</th>.*chance</th>", section, re.DOTALL)
    assert "0.61" in section and "0.38" in section  # the model's share and chance
    assert "12 of 12 answers to text are identical" in section
    assert "desta 5, cascade 0" in section
