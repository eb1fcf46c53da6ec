"""The report: complete, self-contained, bounded, deaf to what stands in answers, and honest about what is not known."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.forgetting import forgetting
from nemo_desta.evaluation.items import Data, Item
from nemo_desta.evaluation.report import write_markdown, write_report
from nemo_desta.evaluation.report.answers import listings
from nemo_desta.evaluation.report.sections import sections
from nemo_desta.evaluation.report.sounds import Sounds
from nemo_desta.evaluation.scores import ItemScore, Metric, write_scores
from tests.demo.fake import HOSTILE
from tests.evaluation.made_scores import RULE, items, scores
from tests.view.test_page import Page

GROUPS = [{"task": t} for t in ["sound"] * 20 + ["speech"] * 20]
MODEL, CASCADE = [1] * 15 + [0] * 5 + [1, 0] * 10, [0] * 15 + [1] * 5 + [1, 0] * 10


def stored(folder: Path, *all_scores) -> list[Path]:
    files = []
    for found in all_scores:
        path = folder / found.benchmark / f"{found.predictor['name']}{len(files)}" / "scores.json"
        write_scores(path, found)
        files.append(path)
    return files


def usual(folder: Path, **rest) -> list[Path]:
    return stored(
        folder,
        scores(items(CASCADE, GROUPS, chance=0.25), "cascade", **rest),
        scores(items(MODEL, GROUPS, chance=0.25), "desta", **rest),
    )


def page_of(files: list[Path], folder: Path, **rest) -> Page:
    return Page(write_report(files, folder / "pages" / "report.html", **rest))


def text_of(page: Page) -> str:
    body = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page.source, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_all_that_belongs_to_a_score_is_said(tmp_path):
    text = text_of(page_of(usual(tmp_path, notes=("Counted as published.",)), tmp_path))
    for part in (
        "62.50 %",  # ours: 15 + 10 of 40
        "owner/repo abc123",
        "official rule",
        "v1",
        "none asked",
        "Counted as published.",
        "chance guessing, and its spread on a set of this size 25.00",
        "cascade same language model, a transcript in the audio&#39;s place 37.50",
        "DeSTA2.5-Audio",
        "commit 0628af2",
        "accuracy by task (2)",
        "it helped in task=sound (+50.0)",
        "nothing can be said of task=speech",
    ):
        assert part in text, part


def test_the_model_comes_first_whatever_the_order_of_the_files(tmp_path):
    (section,) = sections(usual(tmp_path))
    assert [r.label for r in section.runs] == ["desta", "cascade"]
    (versus,) = section.versus
    assert versus.comparison.overall.difference == 25.0


def test_one_section_a_benchmark_and_rule(tmp_path):
    other = scores(items([1, 0]), rule={**RULE, "name": "ours", "official": False})
    files = stored(tmp_path, scores(items([1, 0]), benchmark="voicebench"), scores(items([1, 0])), other)
    found = sections(files)
    assert [(s.title, s.standing) for s in found] == [
        ("MMAU", "official"),
        ("MMAU", "ours"),
        ("VoiceBench", "official"),
    ]
    assert len({s.key for s in found}) == 3


def test_a_rule_of_ours_is_never_shown_as_comparable(tmp_path):
    rule = {**RULE, "name": "choice-match", "official": False}
    text = text_of(page_of(stored(tmp_path, scores(items([1, 0]), rule=rule)), tmp_path))
    assert "NOT the official rule" in text and "cannot be compared with ours" in text


def test_the_official_rule_with_another_judge_is_said(tmp_path):
    found = scores(items([1, 0]), rule={**RULE, "judge": "gpt-4o"}, judge={"model": "smol"})
    (section,) = sections(stored(tmp_path, found))
    assert section.standing == "judge" and "judged by smol where the authors ask gpt-4o" in section.standing_text


def test_data_of_no_known_version_is_said(tmp_path):
    (section,) = sections(stored(tmp_path, scores(items([1, 0]), data={"version": "w" * 64, "known_as": None})))
    assert section.standing == "data"
    assert "official rule, data not known" in text_of(page_of([section.main.path], tmp_path))


def test_counts_of_what_went_wrong_are_visible(tmp_path):
    made = [
        *items([1, 0, None]),
        *(ItemScore(o, 0.0, o) for o in ("missing", "unparsed", "refused", "fallback", "unjudged")),
    ]
    (section,) = sections(stored(tmp_path, scores(made)))
    wanted = {"items", "answered", "missing", "unparsed", "refused", "fallback", "judge_failed", "unjudged"}
    assert set(section.counts) == wanted and "failed" not in section.counts
    text = text_of(page_of([section.main.path], tmp_path))
    assert "judge failed" in text and "unjudged" in text


def test_runs_of_one_name_are_told_apart(tmp_path):
    for name, value in (("first", 1), ("second", 0)):
        write_scores(tmp_path / name / "desta" / "scores.json", scores(items([value, 0])))
    (section,) = sections(sorted(tmp_path.rglob("scores.json")))
    assert [r.label for r in section.runs] == ["desta (first)", "desta (second)"]


def test_without_a_cascade_nothing_is_claimed_of_audio(tmp_path):
    text = text_of(page_of(stored(tmp_path, scores(items([1, 0]))), tmp_path))
    assert "No cascade was run, so that it is not known whether audio helps" in text


def test_what_cannot_be_compared_is_said_in_its_place(tmp_path):
    text = text_of(page_of(stored(tmp_path, scores(items([1])), scores(items([1], prefix="x"), "backbone")), tmp_path))
    assert "no item in common" in text


def test_runs_of_different_data_are_compared_in_part_and_loudly(tmp_path):
    second = scores(items([1, 1]), "cascade", data={"version": "w" * 64, "known_as": "v0"})
    text = text_of(page_of(stored(tmp_path, scores(items([1, 0])), second), tmp_path))
    assert "NOT THE SAME IN BOTH: version of the data: v1 (vvvvvvvvvvvv) and v0 (wwwwwwwwwwww)" in text


def test_forgetting_is_read_from_where_the_run_left_it(tmp_path):
    files = usual(tmp_path)
    assert "Not measured" in text_of(page_of(files, tmp_path))
    found = {
        "without_audio": forgetting([("a", "x")], [("a", "x")], True).to_dict(),
        "adapter_on": forgetting([("a", "x <b>")], [("a", "y")], False).to_dict(),
    }
    path = tmp_path / "mmau" / "forgetting" / "forgetting.json"
    path.parent.mkdir()
    path.write_text(json.dumps(found), encoding="utf-8")
    text = text_of(page_of(files, tmp_path))
    assert "The model without audio: 1 of 1 answers to text are identical" in text and "as they must be" in text
    assert "with the adapter on: 0 of 1" in text and "x &lt;b&gt; instead of y" in text
    path.write_text('{"without_audio": {"n": 1}}', encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"forgetting.json: cannot be read"):
        write_report(files, tmp_path / "r.html")


def hostile_scores():
    nasty = f"{HOSTILE} \x00\x1b[31m\u202e\ud800\u200b"
    made = [
        ItemScore(
            f"{n} {HOSTILE}", 0.0, "wrong", {HOSTILE: HOSTILE, "task": "sound"}, HOSTILE, nasty, HOSTILE, 0.5,
            {"instruction": nasty, "choices": [HOSTILE, 7], "audios": [HOSTILE], "judge": HOSTILE, HOSTILE: {"a": [HOSTILE]}},
        )
        for n in range(3)
    ]  # fmt: skip
    metrics = [
        Metric(HOSTILE, "all", 0.0, 0.0, 1.0, 3, note=HOSTILE),
        Metric(HOSTILE, f"{HOSTILE}={HOSTILE}", 0.0, 0.0, 1.0, 3),
    ]
    rest = {"rule": {**RULE, "what": HOSTILE, "name": HOSTILE}, "notes": (HOSTILE,), "judge": {"model": HOSTILE}}
    return scores(made, HOSTILE, metrics, data={"version": HOSTILE, "known_as": HOSTILE}, **rest)


def test_text_from_the_data_is_never_markup(tmp_path):
    second = replace(hostile_scores(), predictor={"name": "cascade"})
    files = []
    for number, found in enumerate([hostile_scores(), second]):
        files.append(tmp_path / str(number) / "scores.json")
        files[-1].parent.mkdir()
        text = json.dumps({"format": 1, **{k: getattr(found, k) for k in ("benchmark", "rule", "counts", "notes", "data", "judge", "predictor")},
                           "metrics": [vars(m) for m in found.metrics], "items": [vars(i) for i in found.items]})  # fmt: skip
        files[-1].write_text(text, encoding="utf-8")
    page = page_of(files, tmp_path, audio_root=tmp_path)
    assert len(page.all("script")) == 1 and "alert('x')</script>" not in page.source
    assert not page.all("img") and not any(n.startswith("on") for _, attrs in page.found for n in attrs)
    assert all(HOSTILE in text for text in page.texts) and "49" not in "".join(page.texts)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\ud800-\udfff]", page.source)
    assert "␛[31m⟨U+202E⟩⟨U+D800⟩" in page.source
    markdown = write_markdown(files, tmp_path / "r.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown.replace("\\<", "") and "\\<script\\>" in markdown


def test_the_policy_admits_the_pages_own_script_only(tmp_path):
    page = page_of(usual(tmp_path), tmp_path)
    script = re.search(r"<script>(.*)</script>", page.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy
    assert "http" not in policy and not re.search(r"(src|href)=\"http", page.source)


def test_tables_can_be_read_aloud(tmp_path):
    page = page_of(usual(tmp_path), tmp_path)
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in page.all("th"))
    regions = [attrs for attrs in page.all("div") if "wide" in attrs.get("class", "").split()]
    assert regions and all(
        a.get("role") == "region" and a.get("aria-label") and a.get("tabindex") == "0" for a in regions
    )
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.all("a")]
    assert links and set(links) <= set(ids)


@pytest.fixture
def clips(tmp_path):
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", 0.3 * np.sin(np.arange(8_000) * (0.1 + n / 10)), 16_000)
    return tmp_path


def heard(n, value=0.0, **detail):
    detail = {"instruction": "What is heard?", "audios": [f"{n % 4}.wav"], **detail}
    return ItemScore(f"i{n}", value, "right" if value else "wrong", {"task": "a"}, "", "a dog", "a cat", 0.5, detail)


def test_a_wrong_answer_is_shown_with_all_that_is_known(clips):
    found = heard(0, parsed="dog", judge="Judgement: incorrect", choices=["a dog", "a cat"], followed={"x": True})
    cascade = scores([replace(found, value=1.0, outcome="right", response="a cat, surely")], "cascade")
    page = page_of(stored(clips, scores([found]), cascade), clips, audio_root=clips)
    (text,) = page.texts
    for part in ("wrong", "task=a", "i0", "What is heard?", "a dog", "a cat", "dog", "Judgement: incorrect", "cascade: right", "surely", '{"x": true}'):  # fmt: skip
        assert part in text, part
    (audio,) = page.all("audio")
    assert audio["src"].startswith("data:audio/mpeg;base64,")


def test_right_and_good_answers_are_not_listed(tmp_path):
    made = [*items([1, 0.9, 0.2, None]), ItemScore("a refusal that is wanted", 1.0, "refused")]
    (listing,) = listings(sections(stored(tmp_path, scores(made))), Sounds({}))
    assert {a.outcome: a.id for a in listing.answers} == {"low": "i2", "judge_failed": "i3"}
    assert listing.counts == {"low": 1, "judge_failed": 1}


def test_a_clip_is_embedded_once(clips):
    page = page_of(stored(clips, scores([heard(0), heard(4)])), clips, audio_root=clips)
    assert len(page.all("audio")) == 1 and "0.wav is played above" in " ".join(page.texts[1].split())


def test_clips_are_bounded_in_number_bytes_and_length(clips):
    files = stored(clips, scores([heard(n) for n in range(4)]))
    few = Sounds({"mmau": clips}, most=2)
    (listing,) = listings(sections(files), few)
    assert [bool(a.clips[0].problem) for a in listing.answers] == [False, False, True, True]
    (listing,) = listings(sections(files), Sounds({"mmau": clips}, most_bytes=10))
    assert all("too large" in a.clips[0].problem for a in listing.answers)
    soundfile.write(clips / "0.wav", np.zeros(16_000 * 130), 16_000)
    (listing,) = listings(sections(files), Sounds({"mmau": clips}))
    assert "lasts 130 s" in listing.answers[0].clips[0].problem


def test_every_benchmark_gets_its_share_of_clips(clips):
    made = [heard(n) for n in range(4)]
    files = stored(clips, scores(made), scores(made, benchmark="sakura"))
    both = listings(sections(files), Sounds({"mmau": clips, "sakura": clips}, most=4))
    assert [sum(not a.clips[0].problem for a in listing.answers) for listing in both] == [2, 2]


def test_clips_stay_in_their_root(clips):
    (clips / "inner").mkdir()
    made = [
        heard(0, audios=["../0.wav"]),
        heard(1, audios=[str(clips / "1.wav")]),
        heard(2, audios="gone.wav"),
        heard(3, audios=[]),
    ]
    page = page_of(stored(clips, scores(made)), clips, audio_root=clips / "inner")
    assert not page.all("audio")
    assert (
        "leaves the data root" in page.texts[0]
        and "leaves the data root" in page.texts[1]
        and "gone.wav" in page.texts[2]
    )


def test_questions_and_clips_come_from_the_data_where_scores_have_none(clips):
    bare = replace(heard(0), detail={})
    data = Data(clips, (Item("i0", ("1.wav",), "What is it?"),), "v")
    page = page_of(stored(clips, scores([bare])), clips, data={"mmau": data})
    assert "What is it?" in page.texts[0] and "1.wav" in page.texts[0] and len(page.all("audio")) == 1


def test_ten_thousand_items_stay_a_small_page(tmp_path):
    text = "<&'\u202e" * 150
    made = [
        ItemScore(f"i{n}", float(n % 7 == 0), "right" if n % 7 == 0 else "wrong", {"task": f"t{n % 90}"}, "", text[: 500 + n % 7], "x", 0.25,
                  {"instruction": text, "judge": text, "more": text})
        for n in range(10_000)
    ]  # fmt: skip
    path = write_report(stored(tmp_path, scores(made), scores(made[::-1], "cascade")), tmp_path / "r.html")
    assert path.stat().st_size < 7_000_000
    page = Page(path)
    assert 20 < len(page.texts) <= 400
    assert re.search(r"8,571 of 10,000 \(wrong 8,571\); \d+ are shown", text_of(page))
    assert "30 more groups stand in scores.json" in text_of(page)


def test_rare_outcomes_are_drawn_in_full(tmp_path):
    made = [*items([0] * 500), ItemScore("lone", 0.0, "unparsed")]
    (listing,) = listings(sections(stored(tmp_path, scores(made))), Sounds({}), most=50)
    assert len(listing.answers) == 50 and "lone" in {a.id for a in listing.answers}


def test_undefined_figures_are_dashes(tmp_path):
    nan = float("nan")
    metrics = [
        Metric("overall", "all", nan, nan, nan, 0, note="not computed"),
        Metric("delta", "x=y", nan, nan, nan, 0, ""),
    ]
    page = page_of(stored(tmp_path, scores(items([1, 0]), metrics=metrics)), tmp_path)
    assert "nan" not in text_of(page).lower() and "overall is not defined: not computed." in text_of(page)


def test_scores_of_no_items(tmp_path):
    nothing = scores([], metrics=[Metric("accuracy", "all", float("nan"), float("nan"), float("nan"), 0)])
    assert "none." in text_of(
        page_of(stored(tmp_path, nothing, replace(nothing, predictor={"name": "cascade"})), tmp_path)
    )


@pytest.mark.parametrize("write", [write_report, write_markdown])
def test_what_is_no_scores_is_refused(tmp_path, write):
    files = usual(tmp_path)
    with pytest.raises(EvaluationError, match="no scores to report"):
        write([], tmp_path / "r")
    with pytest.raises(EvaluationError, match="given twice"):
        write([files[0], files[0]], tmp_path / "r")
    with pytest.raises(EvaluationError, match="cannot be read"):
        write([tmp_path / "gone.json"], tmp_path / "r")
    files[0].write_text(files[0].read_text()[:200])
    with pytest.raises(EvaluationError, match="is no scores file"):
        write(files, tmp_path / "r")
    write_scores(files[0], replace(scores(items([1])), metrics=()))
    with pytest.raises(EvaluationError, match="holds no figure"):
        write(files, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_markdown_has_the_same_table(tmp_path):
    text = write_markdown(usual(tmp_path), tmp_path / "out" / "r.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| desta | 62.50 (47.0 to 75.8) |" in text and "| cascade | 37.50 " in text and "| chance | 25.00 |" in text
    assert "| cascade | 40 | +25.00 |" in text and "15 : 5 |" in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert len(widths) == 3, "three tables, each of one width"
    assert "it helped in task=sound" in text and "commit 0628af2" in text


def test_no_name_breaks_the_markdown_table(tmp_path):
    text = write_markdown(stored(tmp_path, scores(items([1]), "a|b `c`\n| d")), tmp_path / "r.md").read_text(
        encoding="utf-8"
    )
    assert r"| a\|b \`c\` \| d | 100.00" in text
