"""Dynamic-SUPERB: files read, rules applied, figures averaged; cases worked out by hand."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import get_benchmark, get_rule
from nemo_desta.evaluation.benchmarks.dynamic_superb.exact import (
    chance,
    consecutive_words,
    exact,
    exact_strip,
    options,
)
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import all_instances, instance, item_id, table
from nemo_desta.evaluation.benchmarks.dynamic_superb.judged import number, verdict
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.predictions import prediction, read_predictions
from nemo_desta.evaluation.scores import Scores, read_scores, write_scores
from nemo_desta.evaluation.scoring import score_file

BENCHMARK = get_benchmark("dynamic_superb")
COUNTING = "SpeakerCounting_LibriTTS-TestClean"
MATCHING = "SpeechTextMatching_LJSpeech"
VERIFYING = "SpeakerVerification_VCTK"
HOW_MANY = "Count the speakers. The answer could be one, two, or three."
YES_NO = "Does the speech match the text? The answer could be yes or no."


def sound(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).standard_normal(800) * 0.05, 16_000, format="WAV")
    return buffer.getvalue()


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def preprocessed(root: Path, name: str, rows: Mapping[str, Mapping[str, Any]], extra: Sequence[str] = ()) -> Path:
    """A folder as preprocess leaves it; `extra`: names of further clips."""
    write_json(root / name / "metadata.json", rows)
    for seed, file in enumerate([*rows, *extra]):
        (root / name / file).write_bytes(sound(seed))
    return root


def packed(root: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = root / name / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return root


def row(label: str, file: str, instruction: str = HOW_MANY, **more: Any) -> dict[str, Any]:
    return {"file": file, "instruction": instruction, "label": label, **more}


def answers(name: str, triples: Sequence[tuple[str | None, str, str]]) -> list[Answer]:
    """Of (response, label, instruction)."""
    return [
        Answer(
            f"{name}/{n}",
            response,
            {"instance": name, "label": label, "instruction": asked},
            name,
            where=f"f, entry {n}",
        )
        for n, (response, label, asked) in enumerate(triples)
    ]


class Says:
    """A judge with fixed replies by what the prompt holds."""

    model = "says"

    def __init__(self, replies: Mapping[str, str | None]) -> None:
        self.replies, self.asked = replies, list[JudgePrompt]()

    def ask(self, prompts: Sequence[JudgePrompt]) -> list[Reply]:
        self.asked += prompts
        return [self._reply(p.messages[-1][1]) for p in prompts]

    def _reply(self, text: str) -> Reply:
        found = next((r for key, r in self.replies.items() if key in text), "Verdict: INCORRECT")
        return Reply(error="timeout") if found is None else Reply((found,))

    def describe(self) -> dict[str, Any]:
        return {"model": self.model}


def scored(
    found: Sequence[Answer], rule: str, judge: Says | None = None, data: Data | None = None, **chosen: str
) -> Scores:
    from nemo_desta.evaluation.benchmarks import Context

    return BENCHMARK.score(found, Context(get_rule(BENCHMARK, rule), judge, data, {}, chosen))


# ---------------------------------------------------------------- instances


def test_the_dimensions_of_the_55_are_11_6_7_19_5_and_7_of_audio() -> None:
    sizes = {name: len(members) for name, members in table("instances")["dimensions"].items()}
    assert sizes == {"CON": 11, "SEM": 6, "PAR": 7, "DEG": 19, "SPK": 5, "AUD": 7}
    assert len(set(all_instances())) == 55


@pytest.mark.parametrize(
    ("given_", "official"),
    [
        ("NoiseDetectiongaussian_VCTKMusan", "NoiseDetection_VCTK-MUSAN-Gaussian"),
        ("NoiseDetection_VCTK_MUSAN-Gaussian", "NoiseDetection_VCTK-MUSAN-Gaussian"),
        ("EnvironmentalSoundClassification_AnimalsESC50", "EnvironmentalSoundClassification_ESC50-Animals"),
        ("Intent_Classification_FluentSpeechCommands_Object", "IntentClassification_FluentSpeechCommands-Object"),
        ("EnhancementDetection_LibrittsTestCleanWham", "EnhancementDetection_LibriTTS-TestClean_WHAM"),
        ("SpeakerVerification_VCTK-multiaudio", "SpeakerVerification_VCTK-multiaudio"),
        ("SuperbASR_LibriSpeech-TestClean", "SuperbASR_LibriSpeech-TestClean"),
    ],
)
def test_older_spellings_name_the_same_instance(given_: str, official: str) -> None:
    assert instance(given_).name == official


def test_each_instance_is_known_by_its_letters_alone() -> None:
    assert len({"".join(sorted(c for c in n.lower() if c.isalnum())) for n in all_instances()}) == 55


def test_an_instance_says_task_data_set_dimension_category_and_metric() -> None:
    first = instance(VERIFYING)
    assert (first.task, first.dataset, first.dimension, first.category) == (
        "SpeakerVerification",
        "VCTK",
        "SPK",
        "classification",
    )
    second = instance("HEARMusicTranscription_MAESTRO-5hr-Fold3")
    assert (second.dimension, second.category, second.metric, second.whole) == (
        None,
        "generation",
        None,
        "HEARMusicTranscription_MAESTRO-5hr",
    )
    assert instance("SuperbOODAsrZh_CommonVoice7-Test").metric == "cer"


@pytest.mark.parametrize(
    ("own", "key"),
    [
        ("000243.wav", ""),
        ("some/folder/000243.flac", "other.wav"),
        (None, f"{COUNTING}_000243.wav"),
        (None, "000243.wav"),
        (None, "000243"),
    ],
)
def test_an_item_has_one_id_in_every_layout(own: str | None, key: str) -> None:
    assert item_id(instance(COUNTING), {"file": own}, key, COUNTING, "f") == f"{COUNTING}/000243"


# ---------------------------------------------------------------- layouts


def test_phase_1_as_preprocess_writes_it(tmp_path: Path) -> None:
    rows = {f"{COUNTING}_{n}.wav": row(label, f"{n}.wav") for n, label in (("001", "one"), ("002", "two"))}
    preprocessed(tmp_path, COUNTING, rows)
    data = BENCHMARK.load(tmp_path, tmp_path / "work")
    assert [i.id for i in data.items] == [f"{COUNTING}/001", f"{COUNTING}/002"]
    item = data.items[0]
    assert (item.subset, item.kind, item.instruction, item.fields["label"]) == (
        COUNTING,
        "classification",
        HOW_MANY,
        "one",
    )
    assert (data.root / item.audios[0]).is_file() and not (tmp_path / "work").exists()
    assert any("1 of the 55" in n for n in data.notes)


def test_phase_1_pair_is_the_second_clip(tmp_path: Path) -> None:
    rows = {f"{VERIFYING}_a.wav": row("yes", "a.wav", file2="b.wav")}
    preprocessed(tmp_path, VERIFYING, rows, [f"{VERIFYING}_a_pair.wav"])
    data = BENCHMARK.load(tmp_path, tmp_path / "work")
    assert data.items[0].audios == (f"{VERIFYING}/{VERIFYING}_a.wav", f"{VERIFYING}/{VERIFYING}_a_pair.wav")
    assert any("1 questions have several clips" in n for n in data.notes)


def test_a_second_clip_that_the_data_names_and_the_folder_lacks_is_missing(tmp_path: Path) -> None:
    rows = {f"{VERIFYING}_{n}.wav": row("yes", f"{n}.wav", file2=f"{n}2.wav") for n in "ab"}
    preprocessed(tmp_path, VERIFYING, rows, [f"{VERIFYING}_b_pair.wav"])
    data = BENCHMARK.load(tmp_path, tmp_path / "work")
    assert [len(i.audios) for i in data.items] == [2, 2]  # never asked with one clip alone
    assert any("missing for 1 of 2 questions" in n and "_a_pair.wav" in n for n in data.notes)
    (tmp_path / VERIFYING / f"{VERIFYING}_b_pair.wav").unlink()
    with pytest.raises(
        EvaluationError, match=r"missing for all 2 questions \(first: .*_a_pair\.wav\)\. Dynamic-SUPERB: down"
    ):
        BENCHMARK.load(tmp_path, tmp_path / "work")


def test_the_second_clip_of_phase_2s_preprocess_is_the_one_that_file2_names(tmp_path: Path) -> None:
    name = "SomeVerification_Corpus"
    rows = {f"{name}_a.wav": row("yes", "a.wav", file2="b.wav")}
    preprocessed(tmp_path, name, rows, [f"{name}_a_pair2.wav"])
    data = BENCHMARK.load(tmp_path, tmp_path / "work")
    assert data.items[0].audios == (f"{name}/{name}_a.wav", f"{name}/{name}_a_pair2.wav")
    assert not any("missing" in n for n in data.notes)


def test_a_clip_that_is_a_question_of_its_own_is_no_pair(tmp_path: Path) -> None:
    rows = {"a.wav": row("one", "a.wav"), "a_pair.wav": row("two", "a_pair.wav")}
    data = BENCHMARK.load(preprocessed(tmp_path, COUNTING, rows), tmp_path / "work")
    assert [len(i.audios) for i in data.items] == [1, 1]


def test_phase_2_has_pair2_pair3_and_so_on(tmp_path: Path) -> None:
    name = "SuperbSV_VoxCeleb1-Test"
    extra = [f"{name}_x_pair{n}.wav" for n in (2, 3, 5)]
    preprocessed(tmp_path, name, {f"{name}_x.wav": row("yes", "x.wav")}, extra)
    (item,) = BENCHMARK.load(tmp_path, tmp_path / "work").items
    assert [a.rsplit("_", 1)[1] for a in item.audios] == ["x.wav", "pair2.wav", "pair3.wav"]


def test_text_that_phase_1_asks_about_is_part_of_the_question_and_stands_for_no_audio(tmp_path: Path) -> None:
    preprocessed(tmp_path, MATCHING, {"a.wav": row("yes", "a.wav", YES_NO, text="good morning")})
    (item,) = BENCHMARK.load(tmp_path, tmp_path / "work").items
    assert item.instruction == f"{YES_NO}\ngood morning"
    assert item.text is None and item.fields["instruction"] == YES_NO


def test_text_of_phase_2_is_not_shown_and_said_so(tmp_path: Path) -> None:
    preprocessed(tmp_path, "PoS_Estimation_LibriTTS_PoS", {"a.wav": row("N V", "a.wav", "Tag.", text="birds sing")})
    data = BENCHMARK.load(tmp_path, tmp_path / "work")
    assert data.items[0].instruction == "Tag."
    assert any("'text' that is not shown" in n for n in data.notes)


def test_the_metrics_of_instance_json_decide_the_kind(tmp_path: Path) -> None:
    name = "SomethingNew_Corpus"
    preprocessed(tmp_path, name, {"a.wav": row("hello", "a.wav", "Transcribe.")})
    write_json(tmp_path / name / "instance.json", {"name": name, "metrics": ["WER"]})
    (item,) = BENCHMARK.load(tmp_path, tmp_path / "work").items
    assert (item.kind, item.fields["metrics"]) == ("asr", ["WER"])


def test_the_hubs_parquet_holds_the_same_questions(tmp_path: Path) -> None:
    rows = [row("one", "001.wav"), row("two", "002.wav")]
    preprocessed(tmp_path / "a", COUNTING, {f"{COUNTING}_{r['file']}": r for r in rows})
    packed(tmp_path / "b", COUNTING, [{**r, "audio": {"bytes": sound(n), "path": "../x"}} for n, r in enumerate(rows)])
    one = BENCHMARK.load(tmp_path / "a", tmp_path / "w")
    two = BENCHMARK.load(tmp_path / "b", tmp_path / "w")
    assert (one.version, [i.id for i in one.items]) == (two.version, [i.id for i in two.items])
    assert two.root == tmp_path / "w" and all((two.root / a).is_file() for i in two.items for a in i.audios)


def test_parquet_clips_are_in_order_and_absent_ones_left_out(tmp_path: Path) -> None:
    def clip(n: int) -> dict[str, Any]:
        return {"bytes": sound(n), "path": None}

    first = row("yes", "a.wav") | {"audio10": clip(3), "audio2": clip(2), "audio": clip(1)}
    second = row("no", "b.wav") | {"audio10": None, "audio2": clip(2), "audio": clip(1)}
    packed(tmp_path, VERIFYING, [first, second])
    items = BENCHMARK.load(tmp_path, tmp_path / "w").items
    assert [[a.rsplit("/", 1)[1] for a in i.audios] for i in items] == [
        ["000000.wav", "000000_audio2.wav", "000000_audio10.wav"],
        ["000001.wav", "000001_audio2.wav"],
    ]


def test_enrollment_comes_before_testing(tmp_path: Path) -> None:
    clips = {"testing": {"bytes": sound(1), "path": None}, "enrollment": {"bytes": sound(2), "path": None}}
    packed(tmp_path, "SuperbSV_VoxCeleb1-Test", [row("yes", "a.wav") | clips])
    (item,) = BENCHMARK.load(tmp_path, tmp_path / "w").items
    assert [(tmp_path / "w" / a).read_bytes() for a in item.audios] == [sound(2), sound(1)]


def test_other_splits_are_not_the_test(tmp_path: Path) -> None:
    packed(tmp_path, COUNTING, [row("one", "a.wav") | {"audio": {"bytes": sound(), "path": None}}])
    data = tmp_path / COUNTING / "data"
    (data / "train-00000-of-00001.parquet").write_bytes(b"never read")
    preprocessed(tmp_path / COUNTING / "train", "x", {"t.wav": row("two", "t.wav")})
    assert len(BENCHMARK.load(tmp_path, tmp_path / "w").items) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a.wav": {"label": "one"}}, "'instruction' is missing"),
        ({"a.wav": {"instruction": HOW_MANY}}, "'label' must be text"),
        ({"a.wav": {"instruction": HOW_MANY, "label": ["one"]}}, "'label' must be text"),
        ({"a.wav": "one"}, "must be an object"),
        ([], "must hold an object"),
        ({"../a.wav": row("one", "")}, "leaves the data root"),
        ({"a.wav": row("one", "x.wav"), "b.wav": row("two", "x.flac")}, "ids are there twice"),
    ],
)
def test_bad_metadata_is_told(tmp_path: Path, rows: Any, message: str) -> None:
    write_json(tmp_path / COUNTING / "metadata.json", rows)
    for name in ("a", "b"):
        (tmp_path / COUNTING / f"{name}.wav").write_bytes(sound())
    with pytest.raises(EvaluationError, match=message):
        BENCHMARK.load(tmp_path, tmp_path / "w")


def test_a_name_twice_in_metadata_is_not_silently_the_last(tmp_path: Path) -> None:
    (tmp_path / COUNTING).mkdir()
    entry = json.dumps(row("one", "a.wav"))
    (tmp_path / COUNTING / "metadata.json").write_text(f'{{"a.wav": {entry}, "a.wav": {entry}}}')
    with pytest.raises(EvaluationError, match=r"'a\.wav' is there twice"):
        BENCHMARK.load(tmp_path, tmp_path / "w")


def test_missing_audio_is_told_and_its_questions_stay(tmp_path: Path) -> None:
    preprocessed(tmp_path, COUNTING, {f"{n}.wav": row("one", f"{n}.wav") for n in "abc"})
    for name in "ab":
        (tmp_path / COUNTING / f"{name}.wav").unlink()
    data = BENCHMARK.load(tmp_path, tmp_path / "w")
    assert [i.audios for i in data.items] == [(f"{COUNTING}/{n}.wav",) for n in "abc"]
    assert any(f"missing for 2 of 3 questions (first: {COUNTING}/a.wav), of {COUNTING}" in n for n in data.notes)


def test_audio_that_is_missing_throughout_is_refused_with_what_to_download(tmp_path: Path) -> None:
    write_json(tmp_path / COUNTING / "metadata.json", {f"{n}.wav": row("one", f"{n}.wav") for n in "ab"})
    with pytest.raises(EvaluationError, match=r"missing for all 2 questions .*download the datasets DynamicSuperb"):
        BENCHMARK.load(tmp_path, tmp_path / "w")


def test_parquet_without_the_audio_of_a_row_is_refused(tmp_path: Path) -> None:
    rows = [row("one", "a.wav") | {"audio": {"bytes": sound(), "path": None}}, row("two", "b.wav") | {"audio": None}]
    with pytest.raises(EvaluationError, match=r"row 1: has no audio, and so 1 questions"):
        BENCHMARK.load(packed(tmp_path, COUNTING, rows), tmp_path / "w")


def test_an_instance_of_text_alone_needs_no_audio(tmp_path: Path) -> None:
    name = "NBestCorrection_Librispeech-TestOther"
    write_json(tmp_path / name / "metadata.json", {f"{name}_a.wav": row("b", "a", "Choose.")})
    (item,) = BENCHMARK.load(tmp_path, tmp_path / "w").items
    assert item.audios == ()


def test_nothing_there_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="download the datasets DynamicSuperb"):
        BENCHMARK.load(tmp_path, tmp_path / "w")


def test_subsets_are_chosen_by_any_spelling_and_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    preprocessed(tmp_path, COUNTING, {"a.wav": row("one", "a.wav")})
    preprocessed(tmp_path, MATCHING, {"a.wav": row("yes", "a.wav", YES_NO)})
    chosen = BENCHMARK.load(tmp_path, tmp_path / "w", ["SpeakerCounting_LibriTTSTestClean"])
    assert {i.subset for i in chosen.items} == {COUNTING}
    with pytest.raises(EvaluationError, match="holds no StressDetection_MIRSD"):
        BENCHMARK.load(tmp_path, tmp_path / "w", ["StressDetection_MIRSD"])


# ---------------------------------------------------------------- files of answers


def test_answers_of_multimodal_llama(tmp_path: Path) -> None:
    entry = {
        "id": f"{COUNTING}_001.wav",
        "pred": "one",
        "label": "one",
        "instruction": HOW_MANY,
        "prompt": "Below is ...",
    }
    write_json(tmp_path / f"{COUNTING}.json", {"accuracy": 1.0, "predictions": [entry], "pred_count": {"one": 1}})
    (answer,) = BENCHMARK.read(tmp_path)
    assert (answer.id, answer.response, answer.fields["label_lower"]) == (f"{COUNTING}/001", "one", "one")
    assert "label" not in answer.fields


def test_answers_of_one_instance_in_its_folder(tmp_path: Path) -> None:
    entries = [{"file": "001.wav", "prediction": "Two", "label": "two"}, {"file": "002.wav", "label": "one"}]
    write_json(tmp_path / "SpeakerCounting" / COUNTING / "prediction_instr.json", entries)
    first, second = BENCHMARK.read(tmp_path)
    assert (first.id, first.response, first.fields["label"]) == (f"{COUNTING}/001", "Two", "two")
    assert (second.id, second.response) == (f"{COUNTING}/002", None)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_answers_of_phase_2(tmp_path: Path, suffix: str) -> None:
    name = "SuperbASR_LibriSpeech-TestClean"
    entry = row("hello", "12-3.flac", "Transcribe.") | {"sllm_name": "m", "sllm_response": "Hello."}
    if suffix == ".json":
        write_json(tmp_path / f"{name}.json", {f"{name}_12-3.wav": entry})
    else:
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(entry) + "\n")
    (answer,) = BENCHMARK.read(tmp_path)
    assert (answer.id, answer.response, answer.fields["sllm_name"]) == (f"{name}/12-3", "Hello.", "m")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a.wav": row("one", "a.wav")}, "are these the questions alone"),
        ([{"file": "a.wav", "prediction": 3, "label": "one"}], "must be text"),
        ([{"prediction": "one", "label": "one"}], "names no question"),
        ([{"file": "a.wav", "prediction": "one", "label": None}], "'label' must be text"),
        ([{"file": "a.wav", "prediction": "true", "label": True}], "put them in quotes"),
        ([{"file": "a.wav", "prediction": "one"}, {"file": "a.flac", "prediction": "two"}], "ids are there twice"),
        ("text", "is no file of answers"),
        ([], "is no file of answers"),
    ],
)
def test_bad_answers_are_told(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        BENCHMARK.read(write_json(tmp_path / f"{COUNTING}.json", value))


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    file = write_json(tmp_path / f"{COUNTING}.json", [{"file": "a.wav", "prediction": "one"}])
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(EvaluationError, match="was it cut off"):
        BENCHMARK.read(file)


def test_scores_and_instances_in_the_same_folder_are_no_answers(tmp_path: Path) -> None:
    write_json(tmp_path / f"{COUNTING}.json", [{"file": "a.wav", "prediction": "one", "label": "one"}])
    write_json(tmp_path / "scores.json", {"format": 1})
    write_json(tmp_path / "instance.json", {"name": COUNTING})
    assert len(BENCHMARK.read(tmp_path)) == 1


def test_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    for model in ("a", "b"):
        write_json(tmp_path / model / f"{COUNTING}.json", [{"file": "a.wav", "prediction": "one", "label": "one"}])
    with pytest.raises(EvaluationError, match="one model at a time"):
        BENCHMARK.read(tmp_path)


def test_gold_answers_in_lower_case_are_no_other_version(tmp_path: Path) -> None:
    rows = {f"{n}.wav": row(label, f"{n}.wav") for n, label in (("a", "One"), ("b", "Two"))}
    data = BENCHMARK.load(preprocessed(tmp_path / "data", COUNTING, rows), tmp_path / "w")
    entries = [{"id": f"{n}.wav", "pred": "one", "label": gold} for n, gold in (("a", "one"), ("b", "three"))]
    file = write_json(tmp_path / f"{COUNTING}.json", {"predictions": entries})
    scores = score_file("dynamic_superb", file, data=data)
    assert scores.data["differing"] == 0
    assert any("ANOTHER VERSION: 1 of them differ" in n for n in scores.notes)


# ---------------------------------------------------------------- rules without a judge


@pytest.mark.parametrize(
    ("rule", "response", "label", "right"),
    [
        pytest.param("exact", "Clean", "clean", True, id="exact: case does not count"),
        pytest.param("exact", "clean ", "clean", False, id="exact: a blank after it fails"),
        pytest.param("exact", "clean.", "clean", False, id="exact: a full stop fails"),
        pytest.param("exact", "clean", "clean ", False, id="exact: a blank in the gold answer fails"),
        pytest.param("exact", "", "", True, id="exact: nothing equals nothing"),
        pytest.param("exact-strip", " clean\n", "clean", True, id="exact-strip: blanks of the answer are taken off"),
        pytest.param("exact-strip", "clean", "clean ", False, id="exact-strip: those of the gold answer are not"),
        pytest.param("exact-strip", "clean.", "clean", False, id="exact-strip: a full stop fails"),
        pytest.param("consecutive-words", "It is 'Clean'.", "clean", True, id="words: a sentence around it"),
        pytest.param("consecutive-words", "It is not clean.", "clean", True, id="words: a denial holds it, too"),
        pytest.param("consecutive-words", "unclean", "clean", False, id="words: whole words only"),
        pytest.param("consecutive-words", "a large, noisy room", "large room", False, id="words: in one run"),
        pytest.param("consecutive-words", "the large-room", "large room", True, id="words: a hyphen is a blank"),
        pytest.param("consecutive-words", "anything", "[laugh]", True, id="words: a gold answer without words is in all"),
        pytest.param("consecutive-words", "", "clean", False, id="words: not in nothing"),
    ],
)  # fmt: skip
def test_rules_that_ask_nobody(rule: str, response: str, label: str, right: bool) -> None:
    functions = {"exact": exact, "exact-strip": exact_strip, "consecutive-words": consecutive_words}
    assert functions[rule](response, label) is right
    (item,) = scored(answers(COUNTING, [(response, label, HOW_MANY)]), rule).items
    assert item.value == float(right)


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        (HOW_MANY, ("one", "two", "three")),
        ("x The answer could be yes or no.", ("yes", "no")),
        ("the word is included The answer could be yes or no", ("yes", "no")),
        ("The answer could be 0.4m, 0.5m or 1.5m.", ("0.4m", "0.5m", "1.5m")),
        ("The answer could be organ, order, or floor.", ("organ", "order", "floor")),
        ('Answers should be either "a" or "b"! Listen.', ("a", "b")),
        ("The answer could be long. The answer could be a or b. Text: one or two.", ("a", "b")),
        ("Who speaks?", ()),
        ("The answer could be spoof.", ()),
        ("The answer could be a, a or a.", ()),
    ],
)
def test_options_that_a_question_names(instruction: str, found: tuple[str, ...]) -> None:
    assert options(instruction) == found


def test_chance_is_known_where_the_gold_answer_is_an_option() -> None:
    assert chance(HOW_MANY, "Two ") == pytest.approx(1 / 3)
    assert chance(HOW_MANY, "four") is None
    assert chance("Who?", "two") is None


WORD = st.text("abcdefghijklm", min_size=1, max_size=6)


@given(st.lists(WORD, min_size=2, max_size=5, unique=True))
@settings(max_examples=50, deadline=None)
def test_options_are_read_as_they_are_written(words: list[str]) -> None:
    listed = f"{', '.join(words[:-1])}{',' if len(words) > 2 else ''} or {words[-1]}"
    assert options(f"Listen. The answer could be {listed}.") == tuple(words)


@given(st.text(max_size=30), st.text(max_size=10))
@settings(max_examples=50, deadline=None)
def test_exact_implies_the_looser_rule_and_nothing_crashes(response: str, instruction: str) -> None:
    assert exact(response, response) and consecutive_words(response, response)
    assert len(options(instruction + response)) != 1


def test_wrong_refused_unparsed_missing_and_failed_are_told_apart_and_stay_in_the_denominator() -> None:
    said = [
        ("two", "two"), ("three", "two"), ("It is two.", "two"), ("I cannot determine the number of speakers.", "two"),
        ("one, two or three", "two"), ("hm", "two"), (None, "two"),
    ]  # fmt: skip
    found = answers(COUNTING, [(r, label, HOW_MANY) for r, label in said])
    found.append(replace(found[-1], id=f"{COUNTING}/7", error="unreadable"))
    scores = scored(found, "exact")
    assert [i.outcome for i in scores.items] == [
        "right", "wrong", "wrong", "refused", "unparsed", "unparsed", "missing", "failed",
    ]  # fmt: skip
    assert (scores.headline.value, scores.headline.n) == (pytest.approx(100 / 8), 8)
    assert scores.counts["holds_label"] == 2  # "It is two.", "one, two or three"
    assert (scores.counts["answered"], scores.counts["missing"], scores.counts["unparsed"]) == (6, 1, 2)
    assert scores.headline.chance == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("name", "pred", "labels", "printed"),
    [
        pytest.param(
            "StressDetection_MIRSD", "one", {"four": 11, "two": 127, "three": 45, "one": 107, "zero": 10}, 0.3566666666666667,
            id="stress",
        ),
        pytest.param(
            "ChordClassification_AcousticGuitarAndPiano", "major", {"major": 181, "minor": 119}, 0.6033333333333334, id="chord"
        ),
    ],
)  # fmt: skip
def test_the_authors_printed_accuracy_is_found_again(
    tmp_path: Path, name: str, pred: str, labels: dict[str, int], printed: float
) -> None:
    """Two result files in dynamic-superb/multimodal-llama (imagebind_LLM/exp/finetune4/results/subset, d2486a5): all 300 answers are
    one word, so that their counts tell the whole file."""
    entries = [
        {"pred": pred, "label": label, "instruction": "?"} for label, times in labels.items() for _ in range(times)
    ]
    file = write_json(tmp_path / f"{name}.json", {"predictions": entries, "label_count": labels, "accuracy": printed})
    for rule in ("exact", "exact-strip"):
        scores = score_file("dynamic_superb", file, rule)
        assert scores.headline.value == pytest.approx(100 * printed, abs=1e-9) and scores.headline.n == 300


# ---------------------------------------------------------------- averages


def test_the_headline_is_the_mean_of_instances_not_of_items() -> None:
    found = answers(COUNTING, [("one", "one", HOW_MANY)] * 1 + [("two", "one", HOW_MANY)] * 3)  # 25 %
    found += answers(MATCHING, [("yes", "yes", YES_NO)] * 2)  # 100 %
    found += answers("BirdSoundDetection_Warblrb10k", [("no", "yes", YES_NO)] * 4)  # 0 %
    scores = scored(found, "exact")
    assert scores.headline.value == pytest.approx((25 + 100 + 0) / 3)
    assert scores.headline.low < scores.headline.value < scores.headline.high
    assert scores.find("accuracy_speech").value == pytest.approx((25 + 100) / 2)
    assert scores.find("accuracy_of_items").value == pytest.approx(100 * 3 / 10)
    assert scores.find("accuracy", "dimension=CON").value == 100
    assert scores.find("accuracy", "task=SpeakerCounting").value == 25
    assert scores.find("accuracy", f"instance={MATCHING}").n == 2
    assert scores.headline.chance == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 2) / 3)


def test_a_task_is_the_mean_of_its_instances() -> None:
    other = "SpeechTextMatching_LibriSpeech-TestClean"
    found = answers(MATCHING, [("yes", "yes", YES_NO)]) + answers(other, [("no", "yes", YES_NO)] * 3)
    assert scored(found, "exact").find("accuracy", "task=SpeechTextMatching").value == 50


def test_chance_is_not_given_where_an_instance_names_no_options() -> None:
    found = answers(COUNTING, [("one", "one", HOW_MANY)]) + answers(MATCHING, [("yes", "yes", "Match?")])
    scores = scored(found, "exact")
    assert scores.headline.chance is None and scores.counts["chance_unknown"] == 1
    assert scores.find("accuracy_of_items").chance is None
    assert scores.find("accuracy", f"instance={COUNTING}").chance == pytest.approx(100 / 3)


def test_what_is_no_classification_is_told_under_phase_1s_rules() -> None:
    found = answers("SuperbASR_LibriSpeech-TestClean", [("hello", "hello", "Transcribe.")])
    assert any("NOT CLASSIFICATION" in n for n in scored(found, "exact").notes)


@pytest.mark.parametrize("lacking", ["label", "instance"])
def test_an_answer_without_gold_answer_or_instance_is_refused(lacking: str) -> None:
    (answer,) = answers(COUNTING, [("one", "one", HOW_MANY)])
    fields = {k: v for k, v in answer.fields.items() if k != lacking}
    with pytest.raises(EvaluationError, match=r"label|which instance"):
        scored([replace(answer, fields=fields, subset="")], "exact")


# ---------------------------------------------------------------- judged


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Same thing.\nVerdict: CORRECT", True),
        ("**Verdict:** Incorrect.", False),
        ("Verdict: CORRECT? No.\nVerdict: INCORRECT", False),
        ("The answer is correct.", None),
        ("", None),
    ],
)
def test_the_last_verdict_counts(reply: str, found: bool | None) -> None:
    assert verdict(reply) is found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Value: 3.5", 3.5), ("**Value:** -2", -2.0), ("Value: 1,250", 1250.0), ("Value: N/A", "N/A"), ("value: n/a.", "N/A"),
        ("Value: 1\nValue: 2", 2.0), ("Value: 4/5", None), ("three", None), ("Value: 12 seconds", 12.0), ("Value: 1e999", "N/A"),
    ],
)  # fmt: skip
def test_the_last_number_counts(reply: str, found: float | str | None) -> None:
    assert number(reply) == found


def test_judged_marks_right_wrong_unread_and_failed_and_divides_by_all() -> None:
    said = ["aaa", "bbb", "ccc", "ddd", None]
    judge = Says({"aaa": "Verdict: CORRECT", "bbb": "Verdict: INCORRECT", "ccc": "hm", "ddd": None})
    scores = scored(answers(COUNTING, [(r, "two", HOW_MANY) for r in said]), "judged", judge)
    assert [i.outcome for i in scores.items] == ["right", "wrong", "unparsed", "judge_failed", "missing"]
    assert [i.value for i in scores.items] == [1, 0, 0, 0, 0]
    assert scores.headline.value == pytest.approx(20) and len(judge.asked) == 4
    assert not get_rule(BENCHMARK, "judged").official


def test_a_response_is_not_filled_into_again_and_phase_1s_text_is_shown() -> None:
    (answer,) = answers(MATCHING, [("I say [LABEL]", "yes", YES_NO)])
    judge = Says({})
    scored([replace(answer, fields={**answer.fields, "text": "good morning"})], "judged", judge)
    (prompt,) = judge.asked
    assert "I say [LABEL]" in prompt.messages[1][1] and "good morning" in prompt.messages[1][1]
    assert prompt.temperature == 0.0 and "[QUESTION]" not in prompt.messages[1][1]


def test_verdicts_of_the_file_are_used_and_a_judge_is_needed_for_the_rest(tmp_path: Path) -> None:
    entries = [{"file": "a.wav", "prediction": "x", "label": "two", "judge": "Verdict: CORRECT", "instruction": "?"}]
    file = write_json(tmp_path / f"{COUNTING}.json", entries)
    assert score_file("dynamic_superb", file, "judged").headline.value == 100
    write_json(file, [*entries, {"file": "b.wav", "prediction": "x", "label": "two", "instruction": "?"}])
    with pytest.raises(EvaluationError, match="1 of 2 answers have no verdict"):
        score_file("dynamic_superb", file, "judged")


def test_a_judge_is_not_asked_about_a_question_that_the_file_does_not_state() -> None:
    with pytest.raises(EvaluationError, match="does not state the instruction"):
        scored(answers(COUNTING, [("x", "two", "")]), "judged", Says({}))


# ---------------------------------------------------------------- phase 2

LENGTH = "AudioDurationPrediction_NTUML2021"
ASR = "SuperbASR_LibriSpeech-TestClean"


def regression(said: Sequence[str | None], gold: Sequence[str], metric: str) -> list[Answer]:
    found = answers(LENGTH, [(r, g, "How long?") for r, g in zip(said, gold, strict=True)])
    return [replace(a, fields={**a.fields, "metrics": [metric]}) for a in found]


def test_phase_2_descending_metric_is_divided_by_the_share_of_numbers() -> None:
    found = regression(["2", "about 5 s", "no idea", None], ["1", "3", "9", "9"], "MSE")
    judge = Says({"about 5 s": "Value: 5", "no idea": "Value: N/A"})
    scores = scored(found, "phase2", judge)
    # squared errors 1 and 4: MSE 2.5; numbers 2 of 4: 2.5 / 0.5
    assert scores.find("mse", f"instance={LENGTH}").value == pytest.approx(5.0)
    assert scores.headline.better == "lower" and "N/A 2 of 4" in scores.headline.note
    assert len(judge.asked) == 2  # "2" is a number as it stands
    assert [i.outcome for i in scores.items] == ["scored", "scored", "unparsed", "missing"]


def test_phase_2_ascending_metric_is_multiplied_by_the_share_of_numbers() -> None:
    scores = scored(regression(["1", "2", "3", None], ["10", "20", "30", "5"], "LCC"), "phase2")
    assert scores.headline.value == pytest.approx(1.0 * 3 / 4)


@pytest.mark.parametrize(("metric", "value"), [("lcc", 0.0), ("mse", None)])
def test_phase_2_no_number_at_all_is_the_worst(metric: str, value: float | None) -> None:
    found = scored(regression([None, None], ["1", "2"], metric), "phase2").find(metric, f"instance={LENGTH}")
    assert isnan(found.value) and "worst" in found.note if value is None else found.value == value


def test_phase_2_ranks_share_ties() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
    scores = scored(regression(["1", "4", "4", "100"], ["1", "2", "3", "4"], "SRCC"), "phase2")
    assert scores.headline.value == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_phase_2_generation_is_scored_raw() -> None:
    found = answers(
        ASR, [("The cat", "the cat", "T."), (None, "a b", "T.")]
    )  # one substitution, two deletions, 4 words
    scores = scored(found, "phase2")
    assert (scores.headline.name, scores.headline.value) == ("wer", pytest.approx(75.0))
    assert [i.outcome for i in scores.items] == ["scored", "missing"]


def test_phase_2_classification_without_a_judge_is_not_scored_and_told() -> None:
    found = answers(COUNTING, [("two", "two", HOW_MANY)]) + answers(ASR, [("a", "a", "T.")])
    scores = scored(found, "phase2")
    assert scores.headline.name == "wer" and scores.counts["unjudged"] == 1
    assert isnan(scores.find("accuracy", f"instance={COUNTING}").value)
    assert any(n.startswith("NOT SCORED") and COUNTING in n for n in scores.notes)


@pytest.mark.parametrize(
    ("name", "metrics", "reason"),
    [
        ("MusicBeatTracking_ASAP", None, "its metric is not known"),
        ("MusicBeatTracking_ASAP", ["F1"], "f1 is not computed here"),
        ("SongSeparation_SingSet", None, "the answer is audio"),
    ],
)
def test_phase_2_what_cannot_be_scored_says_why(name: str, metrics: list[str] | None, reason: str) -> None:
    (answer,) = answers(name, [("x", "y", "?")])
    scores = scored([replace(answer, fields={**answer.fields, "metrics": metrics})], "phase2")
    assert isnan(scores.headline.value) and reason in scores.headline.note
    assert scores.headline.n == 1


def test_phase_2_regression_wants_a_number_as_gold_answer() -> None:
    with pytest.raises(EvaluationError, match="'long' is no number"):
        scored(regression(["1"], ["long"], "mse"), "phase2")


def test_phase_2_relative_score_leaves_out_a_baseline_of_zero(tmp_path: Path) -> None:
    judge = Says({"right": "Verdict: CORRECT"})

    def run(share: int, bird: str, wer: str) -> Scores:
        found = answers(COUNTING, [("right", "two", HOW_MANY)] * share + [("x", "two", HOW_MANY)] * (4 - share))
        found += answers("BirdSoundDetection_Warblrb10k", [(bird, "yes", YES_NO)])
        return scored([*found, *answers(ASR, [(wer, "a b c d", "T.")])], "phase2", judge)

    before = run(1, "x", "a b")  # 25 %, 0 %, WER 50 %
    write_scores(tmp_path / "b.json", replace(before, rule={"name": "phase2"}))
    own = run(2, "right", "a b c")  # 50 %, 100 %, WER 25 %
    scores = scored(
        [
            Answer(i.id, i.response, {"instance": i.subset, "label": i.reference, "instruction": i.detail["instruction"]}, i.subset)
            for i in own.items
        ],
        "phase2",
        judge,
        baseline=str(tmp_path / "b.json"),
    )  # fmt: skip
    assert scores.headline.name == "relative"
    assert scores.headline.value == pytest.approx(100 * (1.0 + 0.5) / 2) and scores.headline.n == 2
    assert scores.find("relative", "dimension=SPK").value == pytest.approx(100)
    assert any("the baseline has 0: BirdSoundDetection_Warblrb10k" in n for n in scores.notes)


def phase_2_baseline(path: Path, found: Sequence[Answer], rule: str = "phase2") -> str:
    write_scores(path, replace(scored(found, "phase2"), rule={"name": rule}))
    return str(path)


def test_phase_2_a_baseline_of_another_rule_is_refused(tmp_path: Path) -> None:
    found = answers(ASR, [("a", "a b", "T.")])
    path = phase_2_baseline(tmp_path / "b.json", found, "exact")
    with pytest.raises(EvaluationError, match="rule exact; a baseline is scored by"):
        scored(found, "phase2", baseline=path)


def test_phase_2_a_task_of_which_a_fold_has_no_baseline_is_left_out_and_what_only_the_baseline_has_is_told(
    tmp_path: Path,
) -> None:
    def fold(number: int, said: str) -> list[Answer]:
        found = answers(f"Recognition_Corpus-Fold{number}", [(said, "a b c d", "T.")])
        return [replace(a, fields={**a.fields, "metrics": ["WER"]}) for a in found]

    other = answers("SuperbOODAsrSpon_SBCSAE-Test", [("a", "a b", "T.")])
    path = phase_2_baseline(tmp_path / "one.json", [*fold(1, "a b"), *other])
    scores = scored([*fold(1, "a b c"), *fold(2, "a b c d")], "phase2", baseline=path)
    assert isnan(scores.headline.value) and scores.headline.n == 0
    assert any("one of the two has no figure: Recognition_Corpus" in n for n in scores.notes)
    assert any("1 tasks more than these answers: SuperbOODAsrSpon_SBCSAE-Test" in n for n in scores.notes)
    path = phase_2_baseline(tmp_path / "two.json", [*fold(1, "a b"), *fold(2, "a")])
    scores = scored([*fold(1, "a b c"), *fold(2, "a b c d")], "phase2", baseline=path)
    # WER 50 and 75 before, 25 and 0 now: means 62.5 and 12.5
    assert scores.headline.value == pytest.approx(100 * (62.5 - 12.5) / 62.5) and scores.headline.n == 1


@pytest.mark.parametrize(("version", "told"), [("other", True), ("same", False), (None, False)])
def test_phase_2_a_baseline_of_other_questions_is_told(tmp_path: Path, version: str | None, told: bool) -> None:
    found = answers(ASR, [("a", "a b", "T.")])
    data = BENCHMARK.load(preprocessed(tmp_path, ASR, {"0.wav": row("a b", "0.wav", "T.")}), tmp_path / "w")
    before = replace(scored(found, "phase2"), rule={"name": "phase2"})
    known = data.version if version == "same" else version
    write_scores(tmp_path / "b.json", replace(before, data={"version": known}))
    scores = scored(found, "phase2", data=data, baseline=str(tmp_path / "b.json"))
    assert any("the baseline's answers were scored beside other questions" in n for n in scores.notes) is told


def test_options_of_another_name_or_rule_are_refused() -> None:
    found = answers(COUNTING, [("one", "one", HOW_MANY)])
    with pytest.raises(EvaluationError, match="no option 'base'"):
        scored(found, "phase2", base="x")
    with pytest.raises(EvaluationError, match="belongs to --rule phase2"):
        scored(found, "exact", baseline="x")


# ---------------------------------------------------------------- the whole way


def test_our_own_predictions_are_scored_and_written(tmp_path: Path) -> None:
    rows = {f"{n}.wav": row("one", f"{n}.wav") for n in "abc"}
    data = BENCHMARK.load(preprocessed(tmp_path / "data", COUNTING, rows), tmp_path / "w")
    lines = [
        prediction("dynamic_superb", "desta", i, (), 0.1, said)
        for i, said in zip(data.items, ("One", "two"), strict=False)
    ]
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_predictions(file, "dynamic_superb") is not None
    scores = score_file("dynamic_superb", file, data=data)
    assert scores.headline.value == pytest.approx(100 / 3) and scores.counts["missing"] == 1
    assert scores.rule["name"] == "exact" and scores.data["version"] == data.version
    write_scores(tmp_path / "scores.json", scores)
    assert read_scores(tmp_path / "scores.json").headline.value == scores.headline.value
