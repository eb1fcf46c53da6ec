"""What every recipe of a real corpus keeps: Lhotse's manifests, seed descriptions, folders that move, same bytes."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from lhotse import CutSet, RecordingSet, SupervisionSet, validate, validate_recordings_and_supervisions

from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir
from nemo_desta.recipes.commands import cli
from nemo_desta.recipes.corpus import CorpusInfo
from nemo_desta.recipes.crema_d import CREMA_D, prepare_crema_d
from nemo_desta.recipes.esc50 import ESC50, prepare_esc50
from nemo_desta.recipes.esd import ESD, prepare_esd
from nemo_desta.recipes.gtzan import GTZAN, prepare_gtzan
from nemo_desta.recipes.vctk import VCTK, prepare_vctk
from nemo_desta.selfgen.plan import CutSource, audio_path
from nemo_desta.selfgen.seed import SeedFormatter
from tests.recipes.layouts import lay_crema_d, lay_esc50, lay_esd, lay_gtzan, lay_vctk

_CORPORA = {
    "esc50": (lay_esc50, prepare_esc50, ESC50, {"fold1": 2, "fold2": 1, "fold5": 1}),
    "crema-d": (lay_crema_d, prepare_crema_d, CREMA_D, {"all": 4}),
    "gtzan": (lay_gtzan, prepare_gtzan, GTZAN, {"all": 10}),
    "esd": (lay_esd, prepare_esd, ESD, {"train": 8, "evaluation": 16, "test": 8}),
    "vctk": (lay_vctk, prepare_vctk, VCTK, {"all": 3}),
}

_SEEDS = {
    "esc50": {
        "1-101336-A-30": "[00:00-00:01] (Audio category: Door wood knock, Duration: 0.2s)",
        "5-9032-A-0": "[00:00-00:01] (Audio category: Dog, Duration: 0.2s)",
    },
    "crema-d": {
        "1001_IEO_ANG_HI": "[00:00-00:01] It's eleven o'clock (Emotion: Anger, Intensity: High, Gender: Male, Age: 51, "
        "Race: Caucasian, Ethnicity: Not Hispanic, Language: English, Duration: 0.2s)",
        "1040_ITH_SAD_X": "[00:00-00:01] I think I have a doctor's appointment (Emotion: Sad, Gender: Male, Age: 42, "
        "Race: Caucasian, Ethnicity: Not Hispanic, Language: English, Duration: 0.2s)",
        "1047_TSI_HAP_XX": "[00:00-00:01] The surface is slick (Emotion: Happy, Gender: Female, Age: 22, "
        "Ethnicity: Hispanic, Language: English, Duration: 0.2s)",
    },
    "gtzan": {
        "reggae.00000": "[00:00-00:01] (Genre: Reggae, Duration: 0.2s)",
        "hiphop.00000": "[00:00-00:01] (Genre: Hip hop, Duration: 0.2s)",
    },
    "esd": {
        "0001_000351": "[00:00-00:01] 我每个月打一次电话。 "
        "(Emotion: Angry, Gender: Female, Language: Chinese, Duration: 0.2s)",
        "0017_001750": "[00:00-00:01] Tom’s café was “full”. "
        "(Emotion: Surprise, Gender: Female, Language: English, Duration: 0.2s)",
        "0020_000001": "[00:00-00:01] He ate. (Emotion: Neutral, Gender: Male, Language: English, Duration: 0.2s)",
    },
    "vctk": {
        "p225_001_mic2": "[00:00-00:01] Please call Stella. "
        "(Gender: Female, Age: 23, Language: English, Accent: English, Duration: 0.2s)",
        "p335_001_mic2": "[00:00-00:01] Ask her. "
        "(Gender: Female, Age: 25, Language: English, Accent: New Zealand, Duration: 0.2s)",
    },
}
"""Cut -> its seed description; compare the released examples in the corpus table of DeSTA-AQA5M."""

each_corpus = pytest.mark.parametrize("name", list(_CORPORA))


@pytest.fixture
def prepared(name, tmp_path) -> tuple[Path, Path]:
    """Corpus folder and manifests, elsewhere, both with blanks in their paths."""
    lay, prepare, _, _ = _CORPORA[name]
    corpus, output = tmp_path / "my corpora" / name, tmp_path / "my manifests"
    lay(corpus)
    prepare(corpus, output)
    return corpus, output


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@each_corpus
def test_manifests_are_lhotse_s_own_and_open_as_returned(name, tmp_path):
    lay, prepare, _, sizes = _CORPORA[name]
    lay(tmp_path / "corpus")
    manifests = prepare(tmp_path / "corpus", tmp_path / "out")
    assert {part: len(sets["recordings"]) for part, sets in manifests.items()} == sizes
    for part, sets in manifests.items():
        validate_recordings_and_supervisions(**sets, read_data=True)
        recordings = RecordingSet.from_file(tmp_path / "out" / f"{name}_recordings_{part}.jsonl.gz")
        supervisions = SupervisionSet.from_file(tmp_path / "out" / f"{name}_supervisions_{part}.jsonl.gz")
        assert list(recordings.with_path_prefix(tmp_path / "corpus")) == list(sets["recordings"])
        assert list(supervisions) == list(sets["supervisions"])
        cuts = CutSet.from_file(tmp_path / "out" / f"{name}_cuts_{part}.jsonl.gz").to_eager()
        validate(cuts)
        assert [cut.id for cut in cuts] == [recording.id for recording in recordings]


@each_corpus
def test_cuts_of_all_parts_stand_in_one_file(name, prepared):
    cuts = list(CutSet.from_file(prepared[1] / f"{name}_cuts_all.jsonl.gz"))
    sizes = _CORPORA[name][3]
    assert len({cut.id for cut in cuts}) == len(cuts) == sum(sizes.values())
    splits = [cut.supervisions[0].custom.get("split", "all") for cut in cuts]
    assert {part: splits.count(part) for part in splits} == sizes


@each_corpus
def test_seed_descriptions_say_what_the_corpus_says(name, prepared):
    formatter = SeedFormatter.from_yaml(Path(conf_dir()) / "seed" / "default.yaml")
    seeds = {cut.id: formatter(cut) for cut in CutSet.from_file(prepared[1] / f"{name}_cuts_all.jsonl.gz")}
    assert {cut: seeds[cut].text for cut in _SEEDS[name]} == _SEEDS[name]
    assert {seed.domain for seed in seeds.values()} == {_CORPORA[name][2].domain}
    assert not formatter.unknown, "a field that the shipped seed mapping does not know"


@each_corpus
def test_a_moved_corpus_is_still_found_by_self_generation(name, prepared, tmp_path):
    corpus, output = prepared
    shutil.move(corpus, tmp_path / "elsewhere")
    for _, cut in CutSource([output / f"{name}_cuts_all.jsonl.gz"]):
        relative = audio_path(cut, tmp_path / "elsewhere")
        assert not relative.startswith(("/", ".")) and (tmp_path / "elsewhere" / relative).is_file()


@each_corpus
def test_the_same_corpus_gives_the_same_bytes_whatever_the_clock_says(name, prepared, tmp_path, monkeypatch):
    corpus, output = prepared
    monkeypatch.setattr("time.time", lambda: 1e9)
    jobs = {} if name == "vctk" else {"num_jobs": 4}
    _CORPORA[name][1](corpus, tmp_path / "again", **jobs)
    assert _digests(tmp_path / "again") == _digests(output)


@each_corpus
def test_licence_and_citation_lie_beside_the_manifests(name, prepared):
    info = CorpusInfo(**json.loads((prepared[1] / f"{name}_corpus.json").read_text(encoding="utf-8")))
    assert info == _CORPORA[name][2]
    assert all((info.name, info.license, info.citation, info.homepage)) and info.domain in ("speech", "sound", "music")


@each_corpus
def test_the_folder_above_is_taken_too_and_paths_stay_relative_to_it(name, tmp_path):
    above = {"esc50": "ESC-50-master", "crema-d": "CREMA-D", "gtzan": "", "esd": "Emotion Speech Dataset"}
    lay, prepare, _, _ = _CORPORA[name]
    inside = above.get(name, "VCTK-Corpus-0.92")
    lay(tmp_path / "corpus" / inside)
    prepare(tmp_path / "corpus", tmp_path / "out")
    for cut in CutSet.from_file(tmp_path / "out" / f"{name}_cuts_all.jsonl.gz"):
        source = cut.recording.sources[0].source
        assert source.startswith(inside) and (tmp_path / "corpus" / source).is_file()


@each_corpus
def test_a_wrong_folder_is_refused_with_what_was_expected_and_found(name, tmp_path):
    (tmp_path / "holiday pictures").mkdir()
    prepare, info = _CORPORA[name][1:3]
    with pytest.raises(ConfigError, match=f"{info.name}.*does not hold the corpus.*Found: holiday pictures"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="is no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told_and_leaves_nothing_half(tmp_path):
    lay_esc50(tmp_path / "corpus")
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot write to"):
        prepare_esc50(tmp_path / "corpus", tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", _full_disk)
        with pytest.raises(ConfigError, match="No space left"):
            prepare_esc50(tmp_path / "corpus", tmp_path / "half")
    assert not list((tmp_path / "half").iterdir())


@each_corpus
def test_command_line(name, tmp_path):
    _CORPORA[name][0](tmp_path / "corpus")
    runner = CliRunner()
    done = runner.invoke(cli, ["prepare", name, str(tmp_path / "corpus"), str(tmp_path / "my out")])
    assert done.exit_code == 0, done.output
    assert f"'cuts={tmp_path}/my out/{name}_cuts_all.jsonl.gz'" in done.output, "the next command can be pasted"
    assert (tmp_path / "my out" / f"{name}_corpus.json").is_file()
    for part, size in _CORPORA[name][3].items():
        assert f"{part}: {size} clips" in done.output
    refused = runner.invoke(cli, ["prepare", name, str(tmp_path / "my out"), str(tmp_path / "no")])
    assert refused.exit_code == 1 and "does not hold the corpus" in refused.output


def test_recipes_are_functions_of_the_package():
    from nemo_desta import recipes

    assert recipes.prepare_esc50 is prepare_esc50 and recipes.prepare_crema_d is prepare_crema_d
    assert all(callable(getattr(recipes, name)) for name in recipes.__all__)
    with pytest.raises(AttributeError, match="prepare_nothing"):
        recipes.prepare_nothing  # noqa: B018
