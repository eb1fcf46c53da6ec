"""docs/data.md carries one real example from wav to batch; what it shows is what comes out."""

import json
import re
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.data.source import read_desta
from nemo_desta.pypi_models import resolve
from nemo_desta.recipes.desta_mini import prepare_desta_mini
from nemo_desta.record import Record, read_records, write_records
from nemo_desta.rendering import Renderer
from nemo_desta.selfgen.config import SelfGenConfig, find_config
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.rows import RowMaker
from nemo_desta.selfgen.seed import SeedFormatter

DOC = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
NAME = "train-00003"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk") / "corpus"
    prepare_desta_mini(folder, 40)
    return folder


@pytest.fixture(scope="module")
def cut(corpus):
    return dict(CutSource([corpus / "desta-mini_cuts_train.jsonl.gz"]))[NAME]


def shown(kind: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return [text for name, text in blocks if name == kind]


def shown_record() -> Record:
    text = next(block for block in shown("json") if f'"{NAME}-0"' in block)
    return Record.from_dict(json.loads(text))


def test_the_manifest_is_the_one_shown(cut):
    found, block = cut.to_dict(), json.loads(next(b for b in shown("json") if '"MonoCut"' in b))
    assert found["duration"] == block["duration"] and found["recording"]["num_samples"] == 29480
    spoken, expected = found["supervisions"][0], block["supervisions"][0]
    assert {k: spoken[k] for k in expected if k != "custom"} == {k: v for k, v in expected.items() if k != "custom"}
    assert expected["custom"].items() <= spoken["custom"].items()


@pytest.mark.parametrize("mapping", ["smol", "default"])
def test_the_seed_descriptions_are_the_ones_shown(cut, mapping):
    text = SeedFormatter.from_yaml(find_config("seed", mapping))(cut).text
    assert f"\n{text}\n" in DOC


def test_the_row_is_the_one_shown(corpus, cut):
    config = SelfGenConfig(
        cuts=str(corpus / "desta-mini_cuts_train.jsonl.gz"), output_dir="unused", audio_root=str(corpus), pools=["smol"],
        seed_config="smol", filter_config="smol", system_prompts=["brief"], max_new_tokens=24,
    )  # fmt: skip
    record, expected = RowMaker(config)(NAME, cut, 0).record, shown_record()
    assert (record.id, record.prompt, record.messages) == (expected.id, expected.prompt, expected.messages)
    assert record.seed_description == expected.seed_description


def test_the_batch_is_the_one_shown(corpus, tmp_path):
    write_records(tmp_path / "records.jsonl", [shown_record()])
    tokenizer = AutoTokenizer.from_pretrained(resolve("pypi:smollm2-135m-instruct"))
    found, _ = read_desta(
        {"manifest_filepath": str(tmp_path / "records.jsonl"), "audio_root": str(corpus), "force_finite": True}
    )
    batch = DeSTADataset(Renderer(tokenizer, num_queries=16), pad_id=0)[list(found)]
    table = dict(
        re.findall(r"(\w+) +(\(1, \d+\)|\[.*?\](?=[:\n]))", next(b for b in shown("") if "audio_position" in b))
    )
    for name, value in table.items():
        expected = tuple(batch[name].shape) if value.startswith("(") else batch[name].tolist()
        assert str(expected) == value, name
    assert len(table) == 8
    ids = batch["input_ids"][0].tolist()
    for first, last, text in re.findall(r"^ ?(\d+) - (\d+) +(<.*>|\S.*?)(?:  .*)?$", DOC, re.MULTILINE):
        if "places" not in text:
            assert tokenizer.decode(ids[int(first) : int(last) + 1]) == text.replace("↵", "\n")
    assert batch["target_mask"][0].nonzero().flatten().tolist() == list(range(60, 67))
    assert next(read_records(tmp_path / "records.jsonl")).response == tokenizer.decode(ids[60:66])
