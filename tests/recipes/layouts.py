"""Small copies of corpora, laid out as their authors distribute them: folders, file names, headers, encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

ESC50_ROWS = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-101336-A-30.wav,1,30,door_wood_knock,False,101336,A
2-102852-A-11.wav,2,11,sea_waves,True,102852,A
5-9032-A-0.wav,5,0,dog,True,9032,A
"""
DEMOGRAPHICS = """"ActorID","Age","Sex","Race","Ethnicity"
1001,51,"Male","Caucasian","Not Hispanic"
1040,42,"Male","Caucasian","Not Hispanic"
1047,22,"Female","Unknown","Hispanic"
1076,25,"Female","Caucasian","Not Hispanic"
"""
VOTES = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"
"1","1001_IEO_ANG_HI","A","71.67","A","57","A","57.38"
"2","1001_DFA_NEU_XX","A:N","30.67:51.00","N","51","N","63.5"
"3","1040_ITH_SAD_XX","N","48.2","S","51","S","63.5"
"""
SPEAKERS_092 = (
    "ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n"
    "p225  23  F    English    Southern  England\n"
    "p280  25  F    Unknown    France (mic2 files unavailable)\n"
    "p315  18  M    American    New  England (Text and mic2 files unavailable)\n"
    "p326  26  M    Australian  English  Sydney\n"
    "p335  25  F    NewZealand  English    \n"
    "p362  29  F    American  \n"
)
SPEAKERS_080 = (
    "ID  AGE  GENDER  ACCENTS  REGION  \n"
    "225  23  F    English    Southern  England\n"
    "238  22  F    NorthernIrish  Belfast\n"
    "248  23  F    Indian  \n"
    "315  18  M    American  New  England \n"
)
ESD_CHINESE = {"Neutral": "中立", "Angry": "生气", "Happy": "快乐", "Sad": "伤心", "Surprise": "惊喜"}
ESD_NUMBERS = {"Neutral": (1, 21, 51), "Angry": (351, 371), "Happy": (701,), "Sad": (1051,), "Surprise": (1750,)}
ESD_SENTENCES = {
    "0001": "我每个月打一次电话。",
    "0012": "The nine the eggs, I keep.",
    "0017": "Tom’s café was “full”.",
    "0020": "He ate.",
}
ESD_ENCODINGS = {"0001": "gbk", "0012": "utf-16", "0017": "cp1252", "0020": "ascii"}


def tone(path: Path, seconds: float = 0.2, rate: int = 16000, container: str | None = None) -> None:
    """Write a short tone, 16 bit mono; the container follows the ending unless named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, samples, rate, subtype="PCM_16", format=container)


def lay_esc50(corpus: Path) -> None:
    """`ESC-50-master`, v2: 5 s at 44.1 kHz there, shorter here."""
    (corpus / "meta").mkdir(parents=True)
    (corpus / "meta" / "esc50.csv").write_text(ESC50_ROWS, encoding="utf-8")
    for row in ESC50_ROWS.splitlines()[1:]:
        tone(corpus / "audio" / row.split(",")[0], rate=44100)


def lay_crema_d(corpus: Path) -> None:
    """The Git repository with its audio fetched."""
    for name in ("1001_IEO_ANG_HI", "1001_DFA_NEU_XX", "1040_ITH_SAD_X", "1047_TSI_HAP_XX", "1076_MTI_SAD_XX"):
        tone(corpus / "AudioWAV" / f"{name}.wav")
    (corpus / "VideoDemographics.csv").write_text(DEMOGRAPHICS, encoding="utf-8")
    (corpus / "processedResults").mkdir()
    (corpus / "processedResults" / "summaryTable.csv").write_text(VOTES, encoding="utf-8")


def lay_gtzan(corpus: Path, folder: str = "Data/genres_original", ending: str = "wav") -> None:
    """The archive that holds .wav, with what a Mac leaves behind, or (ending au) that of the authors."""
    genres = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
    for genre in genres:
        tone(corpus / folder / genre / f"{genre}.00000.{ending}", rate=22050)
    (corpus / folder / "jazz" / f"jazz.00054.{ending}").write_bytes(b"\x00\x05\x16\x07 no audio in it")
    (corpus / folder / "jazz" / f"._jazz.00000.{ending}").write_bytes(b"\x00\x05\x16\x07")


def lay_esd(corpus: Path, parts: bool = False) -> None:
    """The current archive, flat below each emotion, or (parts) the first one with train, evaluation and test."""
    for speaker, sentence in ESD_SENTENCES.items():
        chinese = speaker <= "0010"
        lines = []
        for emotion, numbers in ESD_NUMBERS.items():
            for number in numbers:
                name = f"{speaker}_{number:06d}"
                place = (number - 1) % 350
                part = ("evaluation" if place < 20 else "test" if place < 50 else "train") if parts else ""
                tone(corpus / speaker / emotion / part / f"{name}.wav")
                lines.append(f"{name}\t{sentence}\t{ESD_CHINESE[emotion] if chinese else emotion}\r\n")
        text = "".join(lines).encode(ESD_ENCODINGS[speaker])
        (corpus / speaker / f"{speaker}.txt").write_bytes(text)


def lay_vctk(corpus: Path) -> None:
    """Release 0.92: no sentence of p315, no second microphone of p280, one sentence of p362 without audio."""
    for speaker, sentence in (("p225", "Please call Stella."), ("p335", "Ask her."), ("p326", "Six spoons.")):
        _utterance(corpus, speaker, sentence, ("mic1", "mic2"))
    _utterance(corpus, "p280", "Bring these things.", ("mic1",))
    _utterance(corpus, "p362", "Five thick slabs.", ())
    _utterance(corpus, "p315", None, ("mic1",))
    (corpus / "speaker-info.txt").write_text(SPEAKERS_092, encoding="utf-8")


def lay_vctk_080(corpus: Path) -> None:
    """Release 0.80: one microphone, wav, speakers numbered without the p."""
    for speaker in ("p225", "p238", "p248", "p315"):
        tone(corpus / "wav48" / speaker / f"{speaker}_001.wav", rate=48000)
        if speaker != "p315":
            (corpus / "txt" / speaker).mkdir(parents=True)
            (corpus / "txt" / speaker / f"{speaker}_001.txt").write_text("Please call Stella.\n", encoding="utf-8")
    (corpus / "speaker-info.txt").write_text(SPEAKERS_080, encoding="utf-8")


def _utterance(corpus: Path, speaker: str, sentence: str | None, mics: tuple[str, ...]) -> None:
    for mic in mics:
        tone(corpus / "wav48_silence_trimmed" / speaker / f"{speaker}_001_{mic}.flac", rate=48000)
    if sentence is not None:
        (corpus / "txt" / speaker).mkdir(parents=True)
        (corpus / "txt" / speaker / f"{speaker}_001.txt").write_text(f"{sentence}\n", encoding="utf-8")
