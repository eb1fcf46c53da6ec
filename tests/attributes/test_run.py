import json
import subprocess
import sys

import numpy as np
import pytest
from lhotse import CutSet, SupervisionSegment
from lhotse.utils import fastcopy

from nemo_desta.attributes import run as run_module
from nemo_desta.attributes.config import default_words
from nemo_desta.attributes.run import run, run_attributes
from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.closing import corpora_of
from nemo_desta.selfgen.plan import CutSource, audio_path
from nemo_desta.selfgen.seed import SeedFormatter
from tests.attributes.signals import hiss, phrases, silence, voice, write_corpus, write_cut

SMALL = {"min_values": 10, "batch_size": 4, "progress": False}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    run_attributes(corpus, out, **SMALL)
    return out


def cuts_in(folder):
    return {c.id: c for c in CutSet.from_file(folder / "attributes_cuts.jsonl.gz")}


def custom_of(folder):
    return {name: c.supervisions[0].custom for name, c in cuts_in(folder).items()}


def files_of(folder):
    return {
        name: (folder / name).read_bytes() for name in ("attributes_cuts.jsonl.gz", "failed.jsonl", "thresholds.json")
    }


def test_every_cut_gets_numbers_and_words_per_gender(finished):
    custom = custom_of(finished)
    assert len(custom) == 26
    assert custom["male05"]["pitch_hz"] == pytest.approx(115, rel=0.02)
    assert custom["F05"]["pitch_hz"] == pytest.approx(230, rel=0.02)
    assert (custom["male11"]["pitch"], custom["F00"]["pitch"]) == ("very high", "very low")
    assert custom["male00"]["volume"] == "very low" and custom["male11"]["volume"] == "very high"
    assert custom["male00"]["speaking_speed"] == "very slow" and custom["male11"]["speaking_speed"] == "very fast"
    assert custom["male05"]["noise"] == "very clean"
    assert custom["rain0"].keys() == {"domain", "audio_category", "volume_db", "silence_share"}, (
        "no speech, no words of 2"
    )


def test_self_generation_takes_the_manifest_and_shows_the_words(finished, corpus):
    formatter = SeedFormatter.from_yaml(conf_dir() / "seed" / "default.yaml")
    cuts = dict(CutSource([finished / "attributes_cuts.jsonl.gz"]))
    text = formatter(cuts["male11"]).text
    for words in ("Pitch: Very high", "Speaking speed: Very fast", "Volume: Very high", "Noise level: Very clean"):
        assert words in text
    assert "Share of silence" in text and not formatter.unknown
    assert audio_path(cuts["male11"], corpus.parent) == "male11.wav"


def test_all_else_in_the_manifest_stays_as_it_is(finished, corpus):
    def plain(cut):
        bare = [fastcopy(s, custom=None) for s in cut.supervisions]
        return fastcopy(cut, supervisions=bare).to_dict()

    before = {c.id: plain(c) for c in CutSet.from_file(corpus)}
    assert {name: plain(c) for name, c in cuts_in(finished).items()} == before
    assert list(before) == list(cuts_in(finished))


def test_counts_are_exact(corpus, tmp_path, finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert (summary["total"], summary["ok"], summary["failed"], summary["new"]) == (26, 26, 0, 26)
    assert all(sum(counts.values()) == 26 for counts in summary["words"].values())
    assert summary["words"]["pitch"]["(none)"] == 2
    assert any("domain sound" in note and "2 values" in note for note in summary["notes"])


def test_two_processes_write_the_same_bytes_as_one(corpus, tmp_path, finished):
    run_attributes(corpus, tmp_path, **SMALL, num_jobs=2)
    assert files_of(tmp_path) == files_of(finished)


def test_a_killed_run_is_continued_to_the_same_bytes(corpus, tmp_path, finished, monkeypatch):
    real = run_module.measured

    def killed(config, batches):
        for number, rows in enumerate(real(config, batches)):
            if number == 3:
                raise KeyboardInterrupt
            yield rows

    monkeypatch.setattr(run_module, "measured", killed)
    with pytest.raises(KeyboardInterrupt):
        run_attributes(corpus, tmp_path, **SMALL)
    assert not (tmp_path / "attributes_cuts.jsonl.gz").exists()
    with (tmp_path / ".work" / "attributes.log").open("ab") as log:
        log.write(b"deadbeef {torn")
    monkeypatch.setattr(run_module, "measured", real)
    assert run_attributes(corpus, tmp_path, **SMALL).new == 26 - 12
    assert files_of(tmp_path) == files_of(finished)


def test_other_words_need_no_second_measuring(corpus, tmp_path):
    run_attributes(corpus, tmp_path, **SMALL)
    words = default_words()
    words["pitch"] = fastcopy(words["pitch"], words=["deep", "bright"], quantiles=[0.5], per=[])
    assert run_attributes(corpus, tmp_path, **SMALL, words=words).new == 0
    assert {c.get("pitch") for c in custom_of(tmp_path).values()} == {"deep", "bright", None}


def test_what_the_corpus_states_is_kept_unless_told_otherwise(tmp_path):
    cuts = [
        write_cut(tmp_path / "c", f"c{i}", phrases(100 + i), gender="M", text="Hi.", pitch="squeaky") for i in range(12)
    ]
    cuts[0].supervisions[0].custom["pitch"] = "unknown"
    cuts[1].custom = {"volume": "stated for the cut"}
    cuts[2].supervisions[0].custom["pitch_hz"] = 99
    CutSet.from_cuts(cuts).to_file(tmp_path / "c" / "cuts.jsonl")
    summary = run_attributes(tmp_path / "c" / "cuts.jsonl", tmp_path / "kept", **SMALL)
    kept = custom_of(tmp_path / "kept")
    assert kept["c11"]["pitch"] == "squeaky" and kept["c11"]["pitch_hz"] == pytest.approx(111, rel=0.02)
    assert kept["c0"]["pitch"] == "very low", "'unknown' says nothing"
    assert kept["c2"]["pitch_hz"] == 99 and "volume" not in kept["c1"]
    assert summary.words["pitch"]["(stated)"] == 11
    run_attributes(tmp_path / "c" / "cuts.jsonl", tmp_path / "over", **SMALL, overwrite=True)
    assert custom_of(tmp_path / "over")["c11"]["pitch"] == "very high"


def test_another_corpus_gets_the_words_of_given_thresholds(finished, tmp_path):
    cut = write_cut(tmp_path / "c", "new", phrases(145), gender="M", text="Hi.")
    CutSet.from_cuts([cut]).to_file(tmp_path / "c" / "cuts.jsonl")
    run_attributes(
        tmp_path / "c" / "cuts.jsonl", tmp_path / "out", **SMALL, thresholds=str(finished / "thresholds.json")
    )
    assert custom_of(tmp_path / "out")["new"]["pitch"] == "very high"
    assert json.loads((tmp_path / "out" / "thresholds.json").read_text()) == json.loads(
        (finished / "thresholds.json").read_text()
    )


def test_each_supervision_of_a_part_of_a_recording_is_measured_on_its_own_span(tmp_path):
    audio = np.concatenate(
        [voice(300, 1.0), silence(0.5), voice(100, 1.0, 0.02), silence(0.5), voice(200, 1.0), silence(1)]
    )
    cut = fastcopy(write_cut(tmp_path, "meeting", audio), start=1.5, duration=3.0, id="part")
    cut.supervisions = [
        SupervisionSegment("b", "meeting", 1.5, 1.0, 0, text="Second one."),
        SupervisionSegment("a", "meeting", 0.0, 1.0, 0, text="First."),
        SupervisionSegment("outside", "meeting", 5.0, 1.0, 0, text="Never."),
    ]
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "out", **SMALL)
    (found,) = cuts_in(tmp_path / "out").values()
    second, first, outside = (s.custom or {} for s in found.supervisions)
    assert (first["pitch_hz"], second["pitch_hz"]) == (pytest.approx(100, rel=0.02), pytest.approx(200, rel=0.02))
    assert first["volume_db"] == pytest.approx(20 * np.log10(0.02), abs=0.3)
    assert first["words_per_second"] == pytest.approx(1.0, rel=0.05) and not outside


def test_a_supervision_is_measured_in_its_own_channel_at_any_rate(tmp_path):
    low, high = (voice(f0, 2.0)[::2] for f0 in (110, 220))  # what stood at 16 kHz sounds at 8 kHz
    cut = write_cut(tmp_path, "call", np.stack([low, high], 1), 8000)
    cut.supervisions = [SupervisionSegment(f"s{c}", "call", 0.0, 2.0, c, text="Hi.") for c in (0, 1)]
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "out", **SMALL)
    (found,) = cuts_in(tmp_path / "out").values()
    assert [s.custom["pitch_hz"] for s in found.supervisions] == [pytest.approx(f, rel=0.02) for f in (110, 220)]


def test_a_cut_without_supervision_is_measured_as_a_whole(tmp_path):
    cut = fastcopy(write_cut(tmp_path, "c", phrases(150)), supervisions=[])
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "sound", **SMALL)
    assert cuts_in(tmp_path / "sound")["c"].custom.keys() == {"volume_db", "silence_share"}
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "speech", **SMALL, domain="speech")
    found = cuts_in(tmp_path / "speech")["c"]
    assert found.custom["domain"] == "speech" and found.custom["pitch_hz"] == pytest.approx(150, rel=0.02)


def test_labels_are_written_and_measured_and_seen_by_later_labellers(tmp_path, monkeypatch):
    (tmp_path / "two_labels.py").write_text(
        "def text(clips): return [{'text': '我每个月打一次电话', 'gender': 'F'} for c in clips]\n"
        "def length(clips): return [{'letters': len(c.text), 'heard_as': c.domain} for c in clips]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    whole = fastcopy(write_cut(tmp_path, "whole", phrases(200)), supervisions=[])
    stated = write_cut(tmp_path, "stated", phrases(200), text="Stated.")
    CutSet.from_cuts([whole, stated]).to_file(tmp_path / "cuts.jsonl")
    run_attributes(
        tmp_path / "cuts.jsonl", tmp_path / "out", **SMALL, labellers=["two_labels:text", "two_labels:length"]
    )
    whole, stated = (c.supervisions[0] for c in cuts_in(tmp_path / "out").values())
    assert (whole.text, whole.gender, whole.custom["letters"]) == ("我每个月打一次电话", "F", 9)
    assert (whole.start, whole.duration, whole.custom["heard_as"]) == (0.0, pytest.approx(3.6), "speech")
    assert whole.custom["characters_per_second"] == pytest.approx(9 / 2.4, rel=0.05)
    assert (stated.text, stated.gender, stated.custom["letters"]) == ("Stated.", "F", 7)


def test_a_labeller_gets_the_same_batches_when_a_run_is_continued(tmp_path, monkeypatch):
    (tmp_path / "heard_together.py").write_text(
        "def label(clips): return [{'heard_with': [c.cut.id for c in clips]} for _ in clips]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cuts = [write_cut(tmp_path, f"c{i}", phrases(100), text="Hi.") for i in range(4)]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl")
    settings = {**SMALL, "labellers": ["heard_together:label"], "max_failed": 0.5}
    (tmp_path / "c2.wav").rename(tmp_path / "gone.wav")
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "out", **settings)
    (tmp_path / "gone.wav").rename(tmp_path / "c2.wav")
    assert run_attributes(tmp_path / "cuts.jsonl", tmp_path / "out", **settings).new == 1
    assert custom_of(tmp_path / "out")["c2"]["heard_with"] == ["c0", "c1", "c2", "c3"]


def test_the_shipped_configuration_says_the_defaults_of_the_code(corpus, tmp_path, capsys):
    from nemo_desta.attributes.run import SCHEMA
    from nemo_desta.configs import load_config

    given = [f"cuts={corpus}", f"output_dir={tmp_path}", "progress=false"]
    cfg = load_config("attributes", given, schema=SCHEMA)
    assert run(cfg).total == 26
    assert f"audio_root={corpus.parent}" in capsys.readouterr().out
    again = run_attributes(corpus, tmp_path / "code", progress=False)
    assert again.words == json.loads((tmp_path / "summary.json").read_text())["words"]
    with pytest.raises(ConfigError, match=r"words.pitch.quantile: unknown key"):
        load_config("attributes", [*given, "words.pitch.quantile=[0.5]"], schema=SCHEMA)


def test_importing_the_package_is_light():
    code = "import sys, nemo_desta.attributes, nemo_desta.attributes.config; sys.exit('torch' in sys.modules or 'librosa' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_noise_of_known_strength_gets_its_word(tmp_path):
    cuts = []
    for snr in (0, 8, 15, 24, 40):
        audio = phrases(150)
        noise = hiss(3.6, float(np.sqrt(np.mean(audio**2))) * 10 ** (-snr / 20))
        cuts.append(write_cut(tmp_path, f"snr{snr}", audio + noise, text="Hi."))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl")
    run_attributes(tmp_path / "cuts.jsonl", tmp_path / "out", **SMALL)
    words = [c["noise"] for c in custom_of(tmp_path / "out").values()]
    assert words == ["very noisy", "noisy", "moderate", "clean", "very clean"]


def test_the_licence_travels_with_the_manifest(corpus, tmp_path):
    folder = tmp_path / "with card"
    folder.mkdir()
    manifest = folder / "toy_cuts_all.jsonl.gz"
    manifest.write_bytes(corpus.read_bytes())
    card = {"name": "Toy", "license": "CC0", "citation": "", "homepage": "", "domain": "speech"}
    (folder / "toy_corpus.json").write_text(json.dumps(card))
    run_attributes(manifest, tmp_path / "out", audio_root=str(corpus.parent), progress=False)
    assert corpora_of([tmp_path / "out" / "attributes_cuts.jsonl.gz"]) == [card]
