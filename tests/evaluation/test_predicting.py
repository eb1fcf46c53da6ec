"""From questions to predictions: what is sent, what a kill leaves, what fails, what a resumed run says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.configs import load_config
from nemo_desta.errors import ConfigError, DeSTAError, EvaluationError
from nemo_desta.evaluation.items import Answer, Data, Item
from nemo_desta.evaluation.matching import match
from nemo_desta.evaluation.predicting import model as model_module
from nemo_desta.evaluation.predicting.clips import ClipStore
from nemo_desta.evaluation.predicting.prompts import Templates
from nemo_desta.evaluation.predicting.store import PredictionStore
from nemo_desta.evaluation.predictions import read_predictions
from nemo_desta.evaluation.run import SCHEMA, predict_only
from nemo_desta.record import AudioRef
from tests import tiny
from tests.evaluation.sakura_clone import make_clone

ITEM = Item("q1", ("a.wav",), "Which {text}?", fields={"choices": ["x", "{instruction}", "z"]})


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    tiny.shared().save_pretrained(folder)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return make_clone(tmp_path / "SAKURA")


@pytest.fixture
def predict(model_folder: Path, clone: Path, tmp_path: Path, monkeypatch):
    """Predictions of the tiny model for the small clone, by predictor."""
    monkeypatch.setattr(model_module.LocalModel, "transcribe", lambda self, samples: "hello" if len(samples) else " ")

    def run(*overrides: str, output: str = "out") -> dict[str, list[dict]]:
        values = [
            f"model={model_folder}", f"output_dir={tmp_path / output}", f"benchmarks.sakura.data={clone}", "batch_size=2",
            "benchmarks.sakura.max_new_tokens=4", *overrides,
        ]  # fmt: skip
        paths = predict_only(load_config("desta_eval", values, schema=SCHEMA))
        return {p.parent.name: [json.loads(line) for line in p.read_text().splitlines()] for p in paths}

    return run


def test_every_question_has_a_line_with_what_was_sent_and_what_the_scorer_needs(predict) -> None:
    found = predict()
    assert list(found) == ["desta", "backbone", "cascade", "oracle"]
    assert [r["id"] for r in found["desta"]][:2] == ["Animal/single/dog", "Animal/multi/dog"]
    row = found["desta"][0]
    assert row["messages"] == [
        {
            "role": "user",
            "content": "<start_audio><|AUDIO|><end_audio>\n\nWhich animal? (a) cat (b) dog",
            "audios": [{"audio": "data/Animal/audio/dog.wav", "text": "hello"}],
        }
    ]
    assert row["fields"]["label"] == "(b) dog"
    assert isinstance(row["response"], str)
    assert row["seconds"] > 0


def test_each_predictor_is_told_what_its_name_says(predict) -> None:
    sent = {name: rows[0]["messages"][-1]["content"] for name, rows in predict().items()}
    assert sent["backbone"] == "Which animal? (a) cat (b) dog"
    assert sent["cascade"] == "hello\n\nWhich animal? (a) cat (b) dog"
    assert sent["oracle"] == "(Animal: dog)\n\nWhich animal? (a) cat (b) dog"


def test_a_second_run_computes_nothing_and_changes_nothing(predict, tmp_path: Path, monkeypatch) -> None:
    first = predict("predictors=[desta]")
    monkeypatch.setattr(model_module.LocalModel, "answer", lambda *_: pytest.fail("answered again"))
    assert predict("predictors=[desta]") == first


def test_a_run_that_was_cut_off_in_the_middle_of_a_line_ends_as_an_uninterrupted_one(predict, tmp_path: Path) -> None:
    whole = predict("predictors=[desta]", output="whole")["desta"]
    predict("predictors=[desta]", output="cut")
    folder = tmp_path / "cut" / "sakura" / "desta"
    lines = (folder / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "predictions.jsonl").unlink()
    (folder / "predictions.jsonl.partial").write_bytes(lines[1] + lines[4] + lines[2][:40])
    again = predict("predictors=[desta]", output="cut")["desta"]
    timeless = [[{k: v for k, v in r.items() if k != "seconds"} for r in rows] for rows in (whole, again)]
    assert timeless[0] == timeless[1]


def test_other_settings_are_refused_in_a_folder_that_has_answers(predict) -> None:
    predict("predictors=[desta]")
    with pytest.raises(DeSTAError, match="max_new_tokens: 4 -> 5"):
        predict("predictors=[desta]", "benchmarks.sakura.max_new_tokens=5")


def test_a_damaged_clip_fails_its_questions_only_and_is_asked_again_once_mended(
    predict, clone: Path, tmp_path: Path
) -> None:
    clip = clone / "data" / "Animal" / "audio" / "cat.wav"
    good = clip.read_bytes()
    clip.write_bytes(good[:100])
    with pytest.raises(EvaluationError, match=r"2 of 6 questions failed .*cat\.wav"):
        predict("predictors=[desta]")
    path = tmp_path / "out" / "sakura" / "desta"
    answers = {a.id: a for a in read_predictions(path, "sakura")}
    assert answers["Animal/single/cat"].response is None
    assert "cat.wav" in answers["Animal/single/cat"].error
    assert answers["Animal/single/dog"].response is not None
    assert len(predict("predictors=[desta]", "max_failed=2")["desta"]) == 6
    clip.write_bytes(good)
    assert all("response" in r for r in predict("predictors=[desta]")["desta"])


def test_limit_takes_the_first_of_each_subset(predict) -> None:
    ids = [r["id"] for r in predict("predictors=[backbone]", "benchmarks.sakura.limit=1")["backbone"]]
    assert ids == ["Animal/single/dog", "Emotion/single/x"]


def test_the_batch_size_does_not_change_the_answers(predict) -> None:
    small = predict("predictors=[desta]", "batch_size=1", output="one")["desta"]
    assert [r["response"] for r in small] == [
        r["response"] for r in predict("predictors=[desta]", "batch_size=6")["desta"]
    ]


def test_mistakes_in_the_configuration_are_told_before_anything_runs(predict) -> None:
    with pytest.raises(ConfigError, match="predictors: no 'cascaded'"):
        predict("predictors=[cascaded]")
    with pytest.raises(ConfigError, match="no benchmark has data"):
        predict("benchmarks.sakura.data=null")
    with pytest.raises(ConfigError, match="prompts.singel: no question is of this kind; did you mean 'single'"):
        predict("+benchmarks.sakura.prompts.singel={alone: x}")
    with pytest.raises(ConfigError, match=r"must hold <\|AUDIO\|> once"):
        predict("benchmarks.sakura.prompts.default.audio=hello")


def test_a_template_of_one_kind_takes_the_rest_from_default() -> None:
    templates = Templates({"default": {"system": "S", "alone": "{instruction}!"}, "multi": {"alone": "M"}})
    item = Item("q", (), "x", "multi")
    assert [m.content for m in templates.alone(item)] == ["S", "M"]
    assert [m.content for m in templates.alone(Item("q", (), "x"))] == ["S", "x!"]


def test_places_in_the_data_are_not_filled_in_again() -> None:
    templates = Templates({"default": {"audio": "<|AUDIO|>\n\n{instruction} {options} {choices}"}})
    content = templates.heard(ITEM, [AudioRef("a.wav", "hi")])[-1].content
    assert content == "<|AUDIO|>\n\nWhich {text}? \"x\", \"{instruction}\" or \"z\" ['x', '{instruction}', 'z']"


def test_several_clips_stand_where_the_template_has_the_audio() -> None:
    templates = Templates({"default": {}})
    assert templates.heard(ITEM, [AudioRef("a"), AudioRef("b")])[-1].content.startswith("<|AUDIO|>\n<|AUDIO|>\n\nWhich")


@pytest.mark.parametrize(("how", "lengths"), [("cut", [30.0]), ("split", [30.0, 12.0])])
def test_long_clips_are_cut_or_split_and_counted(tmp_path: Path, how: str, lengths: list[float]) -> None:
    tiny.write_clip(tmp_path / "long.wav", 42.0)
    store = ClipStore(tmp_path, tmp_path / "work", how)
    pieces = store.pieces("long.wav")
    assert [soundfile.info(p).duration for p in pieces] == lengths
    assert store.long_clips == {"long.wav"}
    whole = soundfile.read(tmp_path / "long.wav")[0]
    assert np.allclose(
        np.concatenate([soundfile.read(p)[0] for p in pieces]), whole[: int(sum(lengths) * 16_000)], atol=1e-4
    )


def test_a_clip_of_the_data_cannot_leave_its_root(tmp_path: Path) -> None:
    tiny.write_clip(tmp_path / "secret.wav", 0.5)
    (tmp_path / "data").mkdir()
    with pytest.raises(DeSTAError, match="leaves the data root"):
        ClipStore(tmp_path / "data", tmp_path / "work").pieces("../secret.wav")


def test_transcripts_are_heard_once_and_kept(tmp_path: Path) -> None:
    tiny.write_clip(tmp_path / "a.wav", 0.5)
    heard = []

    def transcribe(samples) -> str:
        heard.append(len(samples))
        return "said"

    for _ in range(2):
        store = ClipStore(tmp_path, tmp_path / "work")
        store.transcripts(["a.wav", "a.wav"], transcribe, lambda n: None)
        assert store.transcript(store.pieces("a.wav")[0]) == "said"
    assert len(heard) == 1


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_was_answered_survives_a_cut_at_any_byte(tmp_path_factory, texts: list[str], data) -> None:
    folder = tmp_path_factory.mktemp("store")
    ids = [str(i) for i in range(len(texts))]
    PredictionStore(folder, ids).add({"id": i, "response": t} for i, t in zip(ids, texts, strict=True))
    partial = folder / "predictions.jsonl.partial"
    size = data.draw(st.integers(0, partial.stat().st_size))
    os.truncate(partial, size)
    store = PredictionStore(folder, ids)
    kept = list(store.rows)
    assert kept == ids[: len(kept)]
    store.add({"id": i, "response": t} for i, t in zip(ids, texts, strict=True))
    assert PredictionStore(folder, ids).rows == store.rows
    rows = [json.loads(line) for line in store.publish().read_text(encoding="utf-8").split("\n") if line]
    assert [(r["id"], r["response"]) for r in rows] == list(zip(ids, texts, strict=True))


def test_an_answer_takes_the_place_of_an_earlier_failure_and_never_the_other_way(tmp_path: Path) -> None:
    failed, answered = '{"id": "1", "error": "no"}\n', '{"id": "1", "response": "yes"}\n'
    for lines in (failed + answered, answered + failed):
        (tmp_path / "predictions.jsonl.partial").write_text(lines)
        assert PredictionStore(tmp_path, ["1"]).rows["1"] == {"id": "1", "response": "yes"}


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl.partial").write_text('{"id": "1"}\n{"id": \n{"id": "3"}\n')
    with pytest.raises(EvaluationError, match=r"partial:2: is damaged"):
        PredictionStore(tmp_path, ["1", "2", "3"])


def data_of(*ids: str) -> Data:
    return Data(Path("questions"), tuple(Item(i, (), "?", subset="s", fields={"answer": "x"}) for i in ids), "v")


def test_questions_without_an_answer_stay_in_the_denominator() -> None:
    matched = match([Answer("b", "x", {"answer": "x"}, "s")], data_of("a", "b", "c"))
    assert [(a.id, a.response) for a in matched.answers] == [("a", None), ("b", "x"), ("c", None)]
    assert matched.missing == ("a", "c")


def test_predictions_of_another_benchmark_are_refused(predict, tmp_path: Path) -> None:
    predict("predictors=[backbone]")
    with pytest.raises(EvaluationError, match="predictions for 'sakura', not for 'mmau'"):
        read_predictions(tmp_path / "out" / "sakura" / "backbone", "mmau")


_KILLED = """
import sys
from pathlib import Path
from nemo_desta.evaluation.predicting.store import PredictionStore
store = PredictionStore(Path(sys.argv[1]), [str(i) for i in range(100_000)])
print("begun", flush=True)
for i in range(100_000):
    if str(i) not in store.rows:
        store.add([{"id": str(i), "response": "x" * 200}])
"""


def test_kill_9_loses_no_whole_line(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len((tmp_path / "predictions.jsonl.partial").read_bytes().split(b"\n")) - 1
    store = PredictionStore(tmp_path, [str(i) for i in range(100_000)])
    assert list(store.rows) == [str(i) for i in range(done)]
    assert done > 0
