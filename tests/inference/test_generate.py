"""Answering a file: mistakes are named by line, what is written stays, batching changes nothing."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nemo_desta.configs import load_config
from nemo_desta.errors import AudioError, ConfigError, RecordError
from nemo_desta.inference.generate import SCHEMA, GenerateConfig, answer_file, read_conversations, run

PARITY = Path(__file__).parents[1] / "data" / "parity"


def row(row_id, clip=None, **more):
    turn = {"role": "user", "content": "Hello"}
    if clip:
        turn = {"role": "user", "content": "<|AUDIO|>\nWhat?", "audios": [{"audio": clip, "text": "x"}]}
    return {"id": row_id, "messages": [turn], **more}


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Counter:
    """Stands for the model; fails when asked for its n-th batch."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def generate(self, conversations, **kwargs):
        if len(self.asked) == self.fail_at:
            raise AudioError("x.wav: broken")
        self.asked.append(kwargs)
        return [c[0].content for c in conversations]


@pytest.fixture
def config(tmp_path):
    return GenerateConfig(
        model="m", input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "o" / "out.jsonl"), batch_size=1
    )


def test_conf_and_schema_agree():
    cfg = load_config("desta_generate", ["model=m", "input=i", "output=o"], schema=SCHEMA)
    assert GenerateConfig(**OmegaConf.to_container(cfg)) == GenerateConfig("m", "i", "o")


def test_what_was_written_before_a_failure_stays_and_is_not_made_again(tmp_path, config):
    rows = read_conversations(write(tmp_path / "in.jsonl", [row(f"r{i}", response=str(i)) for i in range(12)]))
    with pytest.raises(AudioError):
        answer_file(Counter(fail_at=1), rows, config)
    out = Path(config.output)
    assert [r["id"] for r in lines(out)] == [f"r{i}" for i in range(8)]
    with out.open("a") as file:
        file.write('{"id": "r8", "predic')  # the process died while writing
    second = Counter()
    assert answer_file(second, rows, config) == 4
    assert len(second.asked) == 1
    assert lines(out) == [{"id": f"r{i}", "prediction": "Hello", "response": str(i)} for i in range(12)]


def test_an_output_that_is_something_else_is_not_touched(tmp_path, config):
    out = Path(config.output)
    out.parent.mkdir()
    out.write_text("my notes\n")
    with pytest.raises(ConfigError, match="holds no predictions"):
        answer_file(Counter(), [], config)
    assert out.read_text() == "my notes\n"


def test_sampling_reaches_the_model_only_when_asked_for(config):
    model = Counter()
    answer_file(model, [{"id": "a", "messages": [type("M", (), {"content": "x"})], "response": None}], config)
    assert model.asked[0] == {
        "audio_root": str(Path(config.input).parent), "max_new_tokens": 128, "do_sample": False, "batch_size": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "in.jsonl:2: not valid JSON"),
        ("[]", "in.jsonl:2: a conversation is a JSON object"),
        ('{"messages": []}', "in.jsonl:2: field 'id'"),
        (json.dumps(row("ok")), "in.jsonl:2: the id 'ok' stands in this file already"),
        ('{"id": 1, "messages": [{"role": "robot", "content": ""}]}', r"in.jsonl:2 \(id 1\): message 0 .* role"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row("ok")) + "\n" + text + "\n")
    with pytest.raises(RecordError, match=message):
        read_conversations(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordError, match="nowhere.jsonl: no such file"):
        read_conversations(tmp_path / "nowhere.jsonl")


def test_a_real_checkpoint_answers_a_file_the_same_in_any_batch(tmp_path):
    path = write(tmp_path / "in.jsonl", [row("a", "a0.wav"), row("b"), row("c", "b0.wav"), row("d", "b1.wav")])
    answers = []
    for size in (1, 4):
        cfg = {"model": str(PARITY), "input": str(path), "output": str(tmp_path / f"{size}.jsonl"), "batch_size": size}
        run(OmegaConf.create({**cfg, "audio_root": str(PARITY), "max_new_tokens": 4}))
        answers.append(lines(tmp_path / f"{size}.jsonl"))
    assert [r["id"] for r in answers[0]] == ["a", "b", "c", "d"]
    assert answers[0] == answers[1]
