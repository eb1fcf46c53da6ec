"""GTZAN: both archives, the excerpt that cannot be decoded, and the files that lie around in copies."""

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.gtzan import prepare_gtzan
from tests.recipes.layouts import lay_gtzan, tone


def _recordings(corpus, tmp_path, **keywords):
    return {r.id: r for r in prepare_gtzan(corpus, tmp_path / "out", **keywords)["all"]["recordings"]}


@pytest.mark.parametrize(("folder", "ending"), [("genres", "au"), ("genres_original", "wav"), ("", "wav")])
def test_every_archive_gives_the_same_excerpts(tmp_path, folder, ending):
    lay_gtzan(tmp_path / "corpus", folder, ending)
    recordings = _recordings(tmp_path / "corpus", tmp_path)
    assert len(recordings) == 10 and {"blues.00000", "rock.00000"} < set(recordings)
    assert all(r.sampling_rate == 22050 and r.load_audio().shape == (1, 4410) for r in recordings.values())


def test_the_known_broken_excerpt_is_told_and_another_one_counts(tmp_path, caplog):
    lay_gtzan(tmp_path / "corpus")
    _recordings(tmp_path / "corpus", tmp_path)
    assert "jazz.00054.wav: no audio that can be decoded" in caplog.text and "1 known to be broken" in caplog.text
    (tmp_path / "corpus" / "Data" / "genres_original" / "rock" / "rock.00000.wav").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"1 of 10 clips(.|\n)*rock.00000.wav: no audio that can be decoded \(0 bytes\)"
    ):
        _recordings(tmp_path / "corpus", tmp_path)


def test_an_excerpt_converted_to_wav_stands_once(tmp_path):
    lay_gtzan(tmp_path / "corpus", "genres", "au")
    tone(tmp_path / "corpus" / "genres" / "blues" / "blues.00000.wav", rate=22050)
    recordings = _recordings(tmp_path / "corpus", tmp_path)
    assert len(recordings) == 10 and recordings["blues.00000"].sources[0].source.endswith(".wav")


def test_strange_names_count_and_missing_genres_are_told(tmp_path, caplog):
    lay_gtzan(tmp_path / "corpus", "genres", "au")
    blues = tmp_path / "corpus" / "genres" / "blues"
    tone(blues / "my favourite.wav")
    with pytest.raises(ConfigError, match="my favourite.wav: not named blues.00000 and so on"):
        _recordings(tmp_path / "corpus", tmp_path)
    for path in blues.iterdir():
        path.unlink()
    blues.rmdir()
    assert len(_recordings(tmp_path / "corpus", tmp_path)) == 9 and "has no folder blues" in caplog.text
