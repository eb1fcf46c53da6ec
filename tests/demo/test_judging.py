"""The judging stages on tiny models: every split, method and question answered, and a report made of it."""

from dataclasses import asdict
from itertools import pairwise

import pytest

from nemo_desta.demo.config import load_demo
from nemo_desta.demo.judging import METHODS, answers, choose_clips, evaluation
from nemo_desta.demo.making import manifest_of, records_of
from nemo_desta.demo.report import write_report
from nemo_desta.evaluation.clips import EvalClip, conversation, read_clips
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.paths import conf_dir
from nemo_desta.recipes.desta_mini import prepare_desta_mini
from nemo_desta.record import Record, write_records
from tests.demo.fake import fake_output
from tests.tiny import PARITY

SPLITS = {"validation": 8, "test": 8, "test_unseen_voices": 8}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Corpus, records and a model where the demo has them."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    prepare_desta_mini(folder / "corpus", SPLITS, seed=1)
    for split in SPLITS:
        clips = read_clips([manifest_of(folder, split)], "smol", folder / "corpus")
        records = [Record(c.id, conversation(c, "Who speaks?", "Answer briefly."), "A person speaks.") for c in clips]
        write_records(records_of(folder, split), records)
    DeSTAModel.from_pretrained(PARITY).save_pretrained(str(folder / "training" / "model"))
    return folder


@pytest.fixture(scope="module")
def config():
    cfg = load_demo()
    cfg.evaluation.untrained = True
    cfg.answers.num_clips, cfg.answers.max_new_tokens = {"speech": 2, "music": 1}, 3
    shared = {"system_prompt": "brief", "seed_config": "smol", "model": "training/model", "seed": 1}
    questions = str(conf_dir() / "closed_questions.yaml")
    return {
        "evaluation": {**asdict(cfg.evaluation), **shared, "questions": questions},
        "answers": {**asdict(cfg.answers), **shared},
    }


def test_judging_fills_the_report(output, config, tmp_path):
    judged, said = evaluation(config["evaluation"], output), answers(config["answers"], output)
    for split in ("test", "test_unseen_voices"):
        assert judged["loss"][split]["num_records"] == judged["loss"][split]["num_clips"] == 8
        asked = judged["closed"][split]
        assert all(tuple(a["methods"]) == tuple(METHODS) for a in asked.values())
        assert asked["domain"]["methods"]["trained"]["num_clips"] == 8
        assert asked["gender"]["methods"]["cascade"]["num_clips"] == sum(
            asked["domain"]["methods"]["trained"]["class_counts"][:1]
        )
    assert [c["attributes"]["domain"] for c in said["clips"]] == ["speech", "speech", "music"]
    assert all({"question", "seed", "untrained", "trained"} == set(a) for c in said["clips"] for a in c["answers"])
    assert (output / "evaluation" / "scores.json").is_file()
    results = fake_output(tmp_path)
    results["stages"]["evaluation"]["result"], results["stages"]["answers"]["result"] = judged, said
    for clip in said["clips"]:
        clip["audio"] = "corpus/a.wav"
    assert "Voices never trained on" in write_report(results, tmp_path).read_text()


def test_clips_to_show_are_unlike_each_other():
    def clip(number: int, gender: str, noise: str) -> EvalClip:
        return EvalClip(str(number), "", " ", "", {"domain": "speech", "gender": gender, "noise": noise})

    clips = [clip(i, g, n) for i, (g, n) in enumerate([("f", "c")] * 3 + [("m", "c")] * 3 + [("m", "n"), ("f", "n")])]
    chosen = choose_clips(clips, {"speech": 4, "sound": 2})
    assert len(chosen) == len({c.id for c in chosen}) == 4
    assert all(a.attributes != b.attributes for a, b in pairwise(chosen))
