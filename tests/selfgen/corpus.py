"""Small manifests whose audio files exist but hold nothing: self-generation never opens audio."""

from pathlib import Path

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource


def recording(path: str, duration: float = 3.0, recording_id: str | None = None) -> Recording:
    return Recording(
        id=recording_id or Path(path).stem,
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=16000,
        num_samples=round(16000 * duration),
        duration=duration,
    )


def supervision(
    text: str | None = None, start: float = 0.0, duration: float = 3.0, number: int = 0, **fields
) -> SupervisionSegment:
    standard = {k: fields.pop(k) for k in ("gender", "language", "speaker") if k in fields}
    return SupervisionSegment(
        id=f"s{number}", recording_id="r", start=start, duration=duration, text=text, custom=fields or None, **standard
    )


def cut(supervisions=(), duration: float = 3.0, cut_id: str = "c", path: str = "a.wav", **custom) -> MonoCut:
    return MonoCut(
        id=cut_id,
        start=0,
        duration=duration,
        channel=0,
        supervisions=list(supervisions),
        recording=recording(path, duration),
        custom=custom or None,
    )


def write_corpus(folder: Path, count: int) -> Path:
    """`count` cuts of the three domains, with their (empty) files; the path of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = []
    for i in range(count):
        (folder / f"a{i}.wav").touch()
        what = [
            supervision(f"Sentence number {i}.", gender="FM"[i % 2], language="en", domain="speech", noise="clean"),
            supervision(domain="sound", audio_category="rain"),
            supervision(domain="music", instrument="piano", tempo_bpm=90 + i),
        ][i % 3]
        cuts.append(cut([what], cut_id=f"cut{i}", path=f"a{i}.wav"))
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl")
    return folder / "cuts.jsonl"
