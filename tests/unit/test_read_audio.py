"""Reading sound: manifests, lists of transcripts, class folders, tables; mono samples at any rate."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pretune.config import DataSettings
from pretune.data.load import load_splits, modality_of
from pretune.data.media.audio import decode_audio
from pretune.data.read import read
from pretune.data.split import complete_splits, content_keys
from pretune.data.splits import COLUMNS, Splits
from pretune.errors import DataError

RATE = 8_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def tone(seed: int, seconds: float = 0.1, rate: int = RATE) -> np.ndarray:
    """(T,) a tone of its own for each seed."""
    at = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 20 * seed) * at)).astype(np.float32)


def save(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seed), RATE, **options)
    return path


def encoded(seed: int, form: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seed), RATE, format=form)
    return buffer.getvalue()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def manifest(root: Path, count: int = 6, **more: Any) -> Path:
    rows = []
    for number in range(count):
        save(root / "wav" / f"{number}.wav", number)
        rows.append({"audio_filepath": f"wav/{number}.wav", "duration": 0.1, "text": f"word {number % 3}", **more})
    return write_lines(root / "list.jsonl", rows)


def test_a_manifest_gives_clips_with_transcripts_and_counts_as_labelled(tmp_path: Path) -> None:
    path = manifest(tmp_path / "set")
    splits = get(path)
    assert list(splits) == ["train"]
    assert modality_of(splits) == "audio"
    row = splits["train"][0]
    assert list(row) == [name for name in COLUMNS if name in row]
    assert row["text"] == "word 0"
    assert row["audio"] == {"bytes": None, "path": str(tmp_path / "set" / "wav" / "0.wav")}
    assert row["rate"] == RATE
    assert row["seconds"] == pytest.approx(0.1)
    assert "label" not in row
    assert splits.facts["read"]["media"]["hours"] == pytest.approx(0.6 / 3600, abs=1e-4)
    assert any("columns left out: duration" in note for note in splits.facts["read"]["notes"])


def test_transcript_and_label_are_both_kept(tmp_path: Path) -> None:
    splits = get(manifest(tmp_path / "set", label="greeting", speaker="ann"))
    assert splits["train"][0]["text"] == "word 0"
    assert splits["train"][0]["label"] == "greeting"


def test_rows_without_transcript_are_unlabelled(tmp_path: Path) -> None:
    rows = [{"audio_filepath": str(save(tmp_path / f"{i}.wav", i).name), "text": "a b" if i else " "} for i in range(3)]
    splits = get(write_lines(tmp_path / "list.jsonl", rows))
    assert {name: len(found) for name, found in splits.items()} == {"train": 2, "unlabelled": 1}
    assert "text" not in splits["unlabelled"].column_names


def test_common_voice_table_with_clips_in_their_folder(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("dev", 10), ("test", 20)):
        lines = ["client_id\tpath\tsentence\tup_votes\taccents"]
        for number in range(first, first + 3):
            save(tmp_path / "clips" / f"c_{number}.mp3", number)
            lines.append(f"s{number % 2}\tc_{number}.mp3\tHello number {number}.\t2\t")
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    splits = get(tmp_path, group="client_id")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3, "validation": 3, "test": 3}
    assert splits["test"][:]["text"] == [f"Hello number {number}." for number in (20, 21, 22)]
    assert splits["test"][:]["group"] == ["s0", "s1", "s0"]


def test_ljspeech_list_keeps_quotes_and_takes_the_normalised_transcript(tmp_path: Path) -> None:
    lines = ['LJ-1|He said "no, and left|he said no, and left', "LJ-2|No. 5|number five", "LJ-3|only raw|"]
    for number in (1, 2, 3):
        save(tmp_path / "wavs" / f"LJ-{number}.wav", number)
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    for place in (tmp_path, tmp_path / "metadata.csv"):
        splits = get(place)
        assert splits["train"][:]["text"] == ["he said no, and left", "number five", "only raw"]
        assert [Path(cell["path"]).name for cell in splits["train"][:]["audio"]] == ["LJ-1.wav", "LJ-2.wav", "LJ-3.wav"]


def test_class_folders_and_flat_folders_of_every_format(tmp_path: Path) -> None:
    for name in ("yes", "no"):
        for seed, suffix in enumerate((".wav", ".flac", ".ogg", ".mp3")):
            save(tmp_path / "set" / "train" / name / f"{seed}{suffix}", seed + 10 * (name == "no"))
    splits = get(tmp_path / "set")
    assert sorted(splits["train"][:]["label"]) == ["no"] * 4 + ["yes"] * 4
    assert splits.facts["read"]["media"]["formats"] == {"WAV": 2, "FLAC": 2, "OGG": 2, "MP3": 2}
    assert list(get(tmp_path / "set" / "train" / "yes")) == ["unlabelled"]


def test_a_headless_table_of_clips_and_words(tmp_path: Path) -> None:
    lines = [f"{save(tmp_path / f'{i}.wav', i).name}\tthe clip with number {i}" for i in range(5)]
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    assert get(tmp_path)["train"][:]["text"] == [f"the clip with number {i}" for i in range(5)]


def test_a_table_with_an_audio_feature(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": encoded(seed, "FLAC"), "path": None} for seed in range(3)]
    held = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"audio": pa.array(cells, held), "transcription": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "set.parquet")
    splits = get(tmp_path / "set.parquet")
    assert splits["train"][:]["text"] == ["a", "b", "c"]
    assert splits["train"][1]["audio"]["bytes"] == cells[1]["bytes"]
    assert len(decode_audio(splits["train"][1]["audio"], RATE)) == 800


def test_samples_are_mono_and_resampled(tmp_path: Path) -> None:
    at = np.arange(44_100) / 44_100
    left, right = np.sin(2 * np.pi * 440 * at), np.sin(2 * np.pi * 440 * at) * 0.5
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 44_100, subtype="FLOAT")
    samples = decode_audio({"bytes": None, "path": str(path)}, 16_000)
    assert samples.dtype == np.float32
    assert samples.shape == (16_000,)
    expected = 0.75 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3
    same = decode_audio({"bytes": path.read_bytes(), "path": "stereo.wav"}, 44_100)
    assert np.allclose(same, (left + right) / 2, atol=1e-6)


def test_eight_channels_are_mixed_and_counted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "eight.wav", np.tile(tone(1)[:, None], (1, 8)), RATE)
    splits = get(tmp_path)
    assert splits.facts["read"]["media"]["changes"] == {"mixed_to_mono": 1}
    assert np.allclose(decode_audio(splits["unlabelled"][0]["audio"], RATE), tone(1), atol=1e-3)


def test_speech_is_split_by_content_and_by_speaker(tmp_path: Path) -> None:
    rows = []
    for number in range(60):
        save(tmp_path / f"{number}.wav", number)
        rows.append({"audio_filepath": f"{number}.wav", "text": "one two", "speaker": f"s{number % 12}"})
    path = write_lines(tmp_path / "list.jsonl", rows)
    plain = DataSettings(data=str(path))
    splits = complete_splits(read(plain), plain)
    sizes = {name: len(found) for name, found in splits.items()}
    assert sum(sizes.values()) == 60
    assert all(5 <= sizes[name] <= 7 for name in ("validation", "test"))
    keys = [set(content_keys(found).tolist()) for found in splits.values()]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    by_speaker = DataSettings(data=str(path), group="speaker")
    splits = complete_splits(read(by_speaker), by_speaker)
    speakers = [set(found[:]["group"]) for found in splits.values()]
    assert len(splits) == 3
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]


def test_manifests_of_one_split_must_have_the_same_columns(tmp_path: Path) -> None:
    one, two = save(tmp_path / "1.wav", 1).name, save(tmp_path / "2.wav", 2).name
    write_lines(tmp_path / "train_a.jsonl", [{"audio": one, "text": "a"}])
    write_lines(tmp_path / "train_b.jsonl", [{"audio": two, "text": "a", "label": "x"}])
    with pytest.raises(DataError, match="different columns"):
        get(tmp_path)


def test_offsets_are_told(tmp_path: Path) -> None:
    notes = get(manifest(tmp_path / "set", offset=1.5)).facts["read"]["notes"]
    assert any("each clip is read whole" in note for note in notes)


@pytest.mark.slow
def test_real_digits_with_their_speakers(shared_data: Path) -> None:
    splits = load_splits(DataSettings(data=str(shared_data / "speech" / "fsdd"), group="speaker"))
    assert {name: len(rows) for name, rows in splits.items() if name != "validation"}["test"] == 300
    assert set(splits["train"].column_names) >= {"text", "label", "group", "audio", "content"}
    assert splits.facts["read"]["media"]["read"] == 3000


def test_real_yes_and_no_are_labelled_by_their_transcripts(shared_data: Path) -> None:
    splits = load_splits(DataSettings(data=str(shared_data / "speech" / "yesno")))
    assert sum(len(rows) for rows in splits.values()) == 60
    assert set(splits) == {"train", "validation", "test"}
    assert len(decode_audio(splits["train"][0]["audio"], 16_000)) == round(splits["train"][0]["seconds"] * 16_000)


def test_a_text_file_beside_each_clip_is_not_read_as_texts(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.wav", number)
        (tmp_path / f"{number}.txt").write_text(f"words of {number}\n")
    with pytest.raises(DataError, match="a text file of the same name"):
        get(tmp_path)
