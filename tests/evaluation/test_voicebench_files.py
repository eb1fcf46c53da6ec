"""VoiceBench's files: the parquet layout of the hub, the outputs of main.py and api_judge.py, the prompts of a clone."""

import io
import json
import wave

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.voicebench import BENCHMARK, results
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS
from nemo_desta.evaluation.matching import match


def clip(seconds=0.01):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\0\0" * int(16_000 * seconds))
    return out.getvalue()


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"audio": {"bytes": clip(), "path": f"{i}.wav"}, **r} for i, r in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(rows), path)


def hub(root):
    """A small data set in the layout of the hub."""
    parquet(root / "advbench/test-00000-of-00001.parquet", [{"prompt": f"harm {i}"} for i in range(3)])
    for region in ("usa", "aus"):
        rows = [{"prompt": f"question {i}", "reference": f"answer {i}"} for i in range(2)]
        parquet(root / f"sd-qa/{region}-00000-of-00001.parquet", rows)
    for subject in ("law", "biology"):
        rows = [{"prompt": f"{subject} {i}", "reference": "A"} for i in range(2)]
        parquet(root / f"mmsu/{subject}-00000-of-00001.parquet", rows)
    kwargs = [{"num_words": 3, "relation": None}]
    parquet(root / "ifeval/test-00000-of-00001.parquet",
            [{"prompt": "write", "key": 1005, "instruction_id_list": ["length_constraints:number_words"], "kwargs": kwargs}])  # fmt: skip
    parquet(root / "bbh/test-00000-of-00002.parquet", [{"prompt": "p0", "id": "navigate_0", "reference": "yes"}])
    parquet(root / "bbh/test-00001-of-00002.parquet", [{"prompt": "p1", "id": "navigate_1", "reference": "no"}])
    return root


def test_the_layout_of_the_hub(tmp_path):
    data = BENCHMARK.load(hub(tmp_path / "hub"), tmp_path / "work")
    ids = [i.id for i in data.items]
    assert ids == [
        "sd-qa/aus/0", "sd-qa/aus/1", "sd-qa/usa/0", "sd-qa/usa/1", "mmsu/0", "mmsu/1", "mmsu/2", "mmsu/3",
        "bbh/navigate_0", "bbh/navigate_1", "ifeval/1005", "advbench/0", "advbench/1", "advbench/2",
    ]  # fmt: skip
    first = data.items[0]
    assert (first.instruction, first.text, first.kind, first.subset) == ("", "question 0", "sd-qa", "sd-qa")
    assert first.fields["split"] == "aus"
    assert [i.fields["split"] for i in data.items if i.subset == "mmsu"] == ["biology", "biology", "law", "law"]
    assert (data.root / first.audios[0]).read_bytes() == clip()
    assert len({i.audios for i in data.items}) == len(ids)
    assert data.items[10].fields["kwargs"] == [{"num_words": 3, "relation": None}]
    json.dumps([dict(i.fields) for i in data.items])


def test_a_data_folder_between_and_one_folder_alone_and_the_converted_layout(tmp_path):
    hub(tmp_path / "hub" / "data")
    parquet(tmp_path / "hub/commoneval/test/0000.parquet", [{"prompt": "p"}])
    parquet(tmp_path / "hub/.cache/wildvoice/test-00000-of-00001.parquet", [{"prompt": "p"}])
    subsets = {i.subset for i in BENCHMARK.load(tmp_path / "hub", tmp_path / "w").items}
    assert subsets == {"sd-qa", "mmsu", "ifeval", "bbh", "advbench", "commoneval"}
    alone = BENCHMARK.load(tmp_path / "hub/data/advbench", tmp_path / "w2")
    assert {i.subset for i in alone.items} == {"advbench"}


def test_other_sizes_and_missing_splits_are_notes(tmp_path):
    parquet(tmp_path / "hub/mtbench/test-00000-of-00001.parquet", [{"turns": "x"}])
    notes = BENCHMARK.load(hub(tmp_path / "hub"), tmp_path / "w", ["sd-qa", "advbench"]).notes
    assert "ANOTHER VERSION: advbench has 3 questions, 520 were published." in notes
    assert "sd-qa has 2 of 11 region splits: aus, usa." in notes
    assert "wildvoice is not there." in notes
    assert "mtbench is left out: the official code does not score it." in notes


def test_the_order_of_mmsu_is_that_of_the_data_card(tmp_path):
    card = "---\nconfigs:\n- config_name: mmsu\n  data_files:\n  - split: law\n    path: mmsu/law-*\n  - split: biology\n    path: x\n---\n# text\n"
    hub(tmp_path / "hub")
    (tmp_path / "hub/README.md").write_text(card)
    data = BENCHMARK.load(tmp_path / "hub", tmp_path / "w", ["mmsu"])
    assert [i.fields["split"] for i in data.items] == ["law", "law", "biology", "biology"]
    (tmp_path / "hub/README.md").write_text("---\nconfigs: [\n---\n")
    data = BENCHMARK.load(tmp_path / "hub", tmp_path / "w", ["mmsu"])
    assert data.items[0].fields["split"] == "biology"


def test_what_is_missing_is_named(tmp_path):
    root = hub(tmp_path / "hub")
    with pytest.raises(EvaluationError, match=r"holds no parquet files of wildvoice\. VoiceBench: download"):
        BENCHMARK.load(root, tmp_path / "w", ["wildvoice"])
    with pytest.raises(EvaluationError, match="holds no parquet files of any set"):
        BENCHMARK.load(tmp_path / "none", tmp_path / "w")
    with pytest.raises(EvaluationError, match="no set 'sdqa'; did you mean 'sd-qa'"):
        BENCHMARK.load(root, tmp_path / "w", ["sdqa"])
    with pytest.raises(EvaluationError, match="does not score it"):
        BENCHMARK.load(root, tmp_path / "w", ["mtbench"])
    (root / "bbh/test-00000-of-00002.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"'test' has 2 files, there are those numbered \[1\]"):
        BENCHMARK.load(root, tmp_path / "w", ["bbh"])
    parquet(root / "openbookqa/test-00000-of-00001.parquet", [{"prompt": "p"}])
    with pytest.raises(EvaluationError, match=r"row 0: has no reference; its columns are"):
        BENCHMARK.load(root, tmp_path / "w", ["openbookqa"])


def test_ids_that_are_there_twice_are_refused(tmp_path):
    row = {"prompt": "p", "id": "navigate_0", "reference": "yes"}
    parquet(tmp_path / "bbh/test-00000-of-00001.parquet", [row, row])
    with pytest.raises(EvaluationError, match="ids are there twice: 'bbh/navigate_0'"):
        BENCHMARK.load(tmp_path, tmp_path / "w")


def lines(path, rows, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(r) for r in rows) + end)
    return path


@pytest.mark.parametrize(
    ("name", "first", "split"),
    [
        ("qwen2-advbench-test-audio", "advbench/0", "test"),
        ("my-own-model-2.5-sd-qa-ind_n-audio", "sd-qa/ind_n/0", "ind_n"),
        ("result-a-alpacaeval_full-test-text", "alpacaeval_full/0", "test"),
        ("sd-qa-tuned-alpacaeval-test-audio", "alpacaeval/0", "test"),
        ("m-mmsu-test-audio", "mmsu/0", None),
        ("m-mmsu-law-audio", "mmsu/law/0", "law"),
        ("wildvoice-test-audio", "wildvoice/0", "test"),
    ],
)
def test_set_and_split_stand_in_the_name_of_an_official_file(tmp_path, name, first, split):
    file = lines(tmp_path / f"{name}.jsonl", [{"prompt": "p", "response": "r", "reference": "A", "extra": 1}])
    (answer,) = BENCHMARK.read(file)
    assert (answer.id, answer.response, answer.fields.get("split")) == (first, "r", split)
    assert answer.fields["extra"] == 1
    assert answer.where == f"{file}:1"


def test_ifeval_and_bbh_have_ids_of_their_own_and_a_missing_response_is_none(tmp_path):
    lines(
        tmp_path / "m-bbh-test-audio.jsonl", [{"prompt": "p", "id": "navigate_7", "reference": "yes", "response": "no"}]
    )
    lines(
        tmp_path / "m-ifeval-test-audio.jsonl",
        [{"prompt": "p", "key": 12, "instruction_id_list": ["x"], "kwargs": [{}]}],
    )
    assert [(a.id, a.response) for a in BENCHMARK.read(tmp_path)] == [("bbh/navigate_7", "no"), ("ifeval/12", None)]
    file = lines(tmp_path / "m-bbh-test-text.jsonl", [{"prompt": "p", "response": "no"}])
    with pytest.raises(EvaluationError, match=r"audio\.jsonl:1|text\.jsonl:1: 'id' is missing"):
        BENCHMARK.read(file)


def test_a_judged_copy_is_read_instead_of_its_original(tmp_path):
    row = {"prompt": "p", "response": "r"}
    lines(tmp_path / "m-wildvoice-test-audio.jsonl", [row])
    judged = lines(tmp_path / "result-m-wildvoice-test-audio.jsonl", [{**row, "score": ["4", "5", "4"]}])
    (answer,) = BENCHMARK.read(tmp_path)
    assert (answer.judged, answer.where) == (["4", "5", "4"], f"{judged}:1")
    scores = BENCHMARK.score([answer], Context(BENCHMARK.rules[0]))
    assert scores.find("wildvoice").value == pytest.approx(13 / 3)
    lines(judged, [{**row, "response": "another", "score": ["4"]}])
    with pytest.raises(EvaluationError, match="is not of the answers in"):
        BENCHMARK.read(tmp_path)


def test_two_models_in_one_folder_are_refused(tmp_path):
    for model in ("a", "b"):
        lines(tmp_path / f"{model}-advbench-test-audio.jsonl", [{"prompt": "p", "response": "r"}])
    with pytest.raises(EvaluationError, match=r"one model at a time.*'advbench/0'"):
        BENCHMARK.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m-advbench-test-audio", "", "is empty"),
        ("m-advbench-test-audio", '{"prompt": "p", "response": "r"}\n{"prompt": "q", "re', "jsonl:2.*last line is cut off"),
        ("m-advbench-test-audio", '{"response": "r"}\n', "'prompt' is missing"),
        ("m-advbench-test-audio", '{"prompt": "p", "response": 3}\n', "'response' must be text, it is 3"),
        ("m-mtbench-test-audio", '{"prompt": "p"}\n', "of which set.*<model>-<set>-<split>-<modality>"),
        ("answers", '{"prompt": "p"}\n', "of which set"),
        ("m-advbench-test-ttft", '{"prompt": "p"}\n', "times to the first token"),
    ],
    ids=["empty", "cut off", "no prompt", "response is a number", "unknown set", "unknown name", "latencies"],
)  # fmt: skip
def test_files_that_cannot_be_used_are_named(tmp_path, name, text, message):
    (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(EvaluationError, match=f"(?s){message}"):
        BENCHMARK.read(tmp_path)


@settings(max_examples=50, deadline=None)
@given(
    st.from_regex(r"\A[A-Za-z0-9._-]{1,30}\Z"), st.sampled_from(sorted(SETS)), st.sampled_from(["test", "usa", "ind_n"])
)
def test_any_model_name_leaves_set_and_split_readable(model, name, split):
    found = results._FILE.match(f"{model}-{name}-{split}-audio")
    assert (found["set"], found["split"]) == (name, split)


def test_official_outputs_fit_the_questions_and_get_their_subjects(tmp_path):
    data = BENCHMARK.load(hub(tmp_path / "hub"), tmp_path / "w")
    rows = [
        {k: v for k, v in i.fields.items() if k not in ("audio", "set", "split")}
        for i in data.items
        if i.subset == "mmsu"
    ]
    file = lines(
        tmp_path / "m-mmsu-test-audio.jsonl",
        [{**r, "response": "A." if "law" in r["prompt"] else "B."} for r in rows[:3]],
    )
    matched = match(BENCHMARK.read(file), data)
    assert (len(matched.missing), matched.differing) == (1, ())
    scores = BENCHMARK.score(matched.answers, Context(BENCHMARK.rules[0], data=data))
    assert scores.find("mmsu", "subject=law").value == 50.0
    assert scores.find("mmsu").value == 25.0
    assert scores.counts["missing"] == 1


def test_an_answer_to_another_version_of_a_question_is_seen(tmp_path):
    data = BENCHMARK.load(hub(tmp_path / "hub"), tmp_path / "w")
    file = lines(
        tmp_path / "m-sd-qa-usa-audio.jsonl", [{"prompt": "question 0", "reference": "other", "response": "x"}]
    )
    assert match(BENCHMARK.read(file), data).differing == ("sd-qa/usa/0",)


def test_the_prompts_of_a_clone_one_of_them_stripped(tmp_path):
    (tmp_path / "api_judge.py").write_text(
        'import os\nmeta_prompt_open = """\nrate {prompt} {response}\n"""\nmeta_prompt_qa = """\nis {response} {reference}?\n""".strip()\n'
    )
    assert BENCHMARK.protocol(tmp_path) == {"open": "\nrate {prompt} {response}\n", "qa": "is {response} {reference}?"}
    with pytest.raises(EvaluationError, match="give a clone of the benchmark's repository"):
        BENCHMARK.protocol(tmp_path / "none")
