import json

import numpy as np
import pytest
import torch

from nemo_desta import bootstrap
from nemo_desta.errors import ConfigError, RecordError, SelfGenError
from nemo_desta.record import AudioRef, Message, Record, write_records
from nemo_desta.selfgen.baselines import templated, transcript
from nemo_desta.selfgen.likelihood import Scorer, Target
from nemo_desta.selfgen.perplexity import run

LLM = "tests/data/parity/llm/tiny"


def record(
    number: int, seed: str = "[00:00-00:02] Hello there. (Gender: Female, Language: French)", **fields
) -> Record:
    user = Message(
        "user", f"<start_audio><|AUDIO|><end_audio>\n\nWho speaks{'?' * (number + 1)}", (AudioRef("a.wav", "Hi."),)
    )
    answer = "A woman " + "and another " * (number % 4)
    return Record(**{"id": f"r{number}", "messages": (user,), "response": answer, "seed_description": seed, **fields})


@pytest.fixture(scope="module")
def llm(request):
    return str(request.config.rootpath / LLM)


@pytest.fixture(scope="module")
def scorer(llm):
    return Scorer(llm, batch_tokens=400)


def config(tmp_path, llm, records, **settings):
    write_records(tmp_path / "r.jsonl", records)
    return {
        "records": str(tmp_path / "r.jsonl"),
        "output": str(tmp_path / "ppl.json"),
        "llm": llm,
        "progress": False,
        **settings,
    }


def test_batches_give_what_one_row_after_the_other_gives(scorer):
    rows = [scorer.render(Target(record(i), record(i).response)) for i in range(9)]
    nll, tokens = scorer(rows)
    for row, own, count in zip(rows, nll, tokens, strict=True):
        ids = torch.tensor([row.input_ids])
        with torch.inference_mode():
            logs = scorer.model(input_ids=ids).logits.log_softmax(-1)[0, :-1]
        wanted = -logs[torch.arange(len(logs)), ids[0, 1:]][torch.tensor(row.target_mask[1:])]
        assert own == pytest.approx(float(wanted.sum()), rel=1e-4) and count == len(wanted)
        assert row.input_ids[-1] == scorer.renderer.eos_id, "the token that ends the target is scored, too"


def test_the_seed_description_stands_in_place_of_the_audio(scorer):
    text = scorer.renderer.tokenizer.decode(scorer.render(Target(record(0), "Yes.")).input_ids)
    assert "<start_audio>[00:00-00:02] Hello there. (Gender: Female, Language: French)<end_audio>" in text


def test_each_file_and_baseline_has_its_figures(tmp_path, llm, capsys):
    music = "[00:00-00:02] (Instrument: Piano)"
    rows = [record(i) for i in range(6)] + [record(6, music), record(7, "no attributes")]
    figures = run(config(tmp_path, llm, rows, baselines=["templated", "transcript"], num_rows=None))
    assert json.loads((tmp_path / "ppl.json").read_text()) == figures
    own, template, spoken = figures["sets"]
    assert (own["rows"], template["rows"], spoken["rows"]) == (8, 7, 7)
    assert own["perplexity"]["low"] <= own["perplexity"]["value"] <= own["perplexity"]["high"]
    assert own["perplexity"]["value"] == pytest.approx(np.exp(own["nll"]["value"]))
    assert template["ratio"]["value"] == pytest.approx(
        template["perplexity"]["value"] / template["own_perplexity"]["value"]
    )
    assert "to own, same rows" in capsys.readouterr().out


def test_the_choice_of_rows_depends_on_their_ids_alone(tmp_path, llm):
    rows = [record(i) for i in range(12)]
    one = run(config(tmp_path, llm, rows, num_rows=5))["sets"][0]
    other = run(config(tmp_path, llm, rows[::-1], num_rows=5))["sets"][0]
    assert one["rows"] == 5 and one["tokens"] == other["tokens"]
    assert one["perplexity"]["value"] == pytest.approx(other["perplexity"]["value"], rel=1e-5)


def test_rows_that_cannot_be_scored_are_counted_and_fatal_above_the_threshold(tmp_path, llm):
    rows = [record(0), record(1), record(2, seed="")]
    assert run(config(tmp_path, llm, rows, max_failed=0.5))["sets"][0]["skipped"] == 1
    with pytest.raises(SelfGenError, match="1 of 3 rows cannot be scored"):
        run(config(tmp_path, llm, rows))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"num_rows": 0}, ConfigError),
        ({"max_failed": 2}, ConfigError),
        ({"baselines": ["random"]}, ConfigError),
        ({"rows": 3}, ConfigError),
        ({"records": "nowhere.jsonl"}, RecordError),
    ],
)
def test_mistakes_are_told_before_the_llm_is_loaded(tmp_path, settings, error):
    settings = {**config(tmp_path, "/no/such/llm", [record(0)]), **settings}
    with pytest.raises(error):
        run(settings)


def test_an_empty_file_is_refused(tmp_path, llm):
    with pytest.raises(SelfGenError, match="no records"):
        run(config(tmp_path, llm, []))


def test_templates_say_every_attribute_and_the_words():
    seed = "[00:00-00:02] Take it. (Gender: Female, Emotion: Angry, Language: French, Speaks: Slowly)"
    assert templated(seed) == (
        'The speaker is female. The emotion is angry. The language is French. The speaker speaks slowly. They say: "Take it."'
    )
    assert templated("[00:00-00:02] (Instrument: Piano)") == "The instrument is piano." and templated("plain") is None
    assert transcript(seed) == "Take it." and transcript("[00:00-00:02] (Instrument: Piano)") is None


def test_resamples_in_pieces_are_those_of_one_draw(monkeypatch):
    whole = bootstrap.resample_counts(50, seed=3)
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 120)
    assert (bootstrap.resample_counts(50, seed=3) == whole).all() and (whole.sum(axis=1) == 50).all()
