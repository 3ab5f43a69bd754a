"""Data in a store that speaks S3 (a server of moto's, on this machine), and on a web server."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_calls import TINY, call, done, refused

from conftest import make_rows
from pretune.runfolder import RunFolder

pytestmark = pytest.mark.slow


def lines(rows: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in make_rows(rows)).encode()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
    server_of = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    import boto3

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "ENDPOINT_URL": f"http://{host}:{port}",
        "ACCESS_KEY_ID": "k",
        "SECRET_ACCESS_KEY": "s",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="news")
    yield client
    server.stop()


def test_rows_of_a_bucket_are_read_and_read_again_when_they_change(bucket: Any) -> None:
    bucket.put_object(Bucket="news", Key="set/train.jsonl", Body=lines(60))
    bucket.put_object(Bucket="news", Key="set/test.jsonl", Body=lines(20))
    bucket.put_object(Bucket="news", Key="set/", Body=b"")  # what consoles put there for a folder
    for place, rows in (("s3://news/set", 80), ("s3://news/set/train.jsonl", 60), ("s3://news/set/t*.jsonl", 80)):
        facts = done("inspect", place, "--json").facts
        assert facts["rows"] == rows, place
    first = done("inspect", "s3://news/set/train.jsonl")
    assert "copied to the cache" not in first.err, "it is there"
    bucket.put_object(Bucket="news", Key="set/train.jsonl", Body=lines(70))
    again = done("inspect", "s3://news/set/train.jsonl")
    assert "1 file, " in again.err
    assert "remote" in done("cache").out


def test_what_is_not_there_says_so(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(call("inspect", "s3://news/none.csv"), "is not there")
    refused(call("inspect", "s3://nobody/none.csv"), "s3://nobody/none.csv")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    refused(call("inspect", "s3://news/set/train.jsonl"), "cannot be read")


def test_a_file_of_a_web_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install aiohttp")
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "news.jsonl").write_bytes(lines(60))
    (folder / "page").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert done("inspect", f"{address}/news.jsonl", "--json").facts["rows"] == 60
        refused(call("inspect", f"{address}/page/"), "web page")
        refused(call("inspect", f"{address}/none.csv"), "is not there")
        server.shutdown()


def test_a_bucket_is_streamed_file_by_file(bucket: Any, tmp_path: Path) -> None:
    for number in range(3):
        rows = make_rows(180)[60 * number : 60 * number + 60]
        text = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)
        bucket.put_object(Bucket="news", Key=f"corpus/part-{number}.jsonl.gz", Body=gzip.compress(text.encode()))
    place, out = "s3://news/corpus/part-*.jsonl.gz", tmp_path / "run"
    done("pretrain", *TINY, "--data", place, "--stream", "--batch-size", "16", "--out", out)
    told = [line for line in RunFolder(out).log_lines() if line["kind"] == "part"]
    assert sorted(line["file"] for line in told) == [f"part-{number}.jsonl.gz" for number in range(3)]
    assert RunFolder(out).record["streamed"]["rows_learned"] == sum(line["rows"] for line in told) > 150
    bucket.delete_object(Bucket="news", Key=f"corpus/{told[1]['file']}")
    refused(
        call("pretrain", *TINY, "--data", f"s3://news/corpus/{told[1]['file']}", "--stream", "--out", tmp_path / "no"),
        "not there",
    )
