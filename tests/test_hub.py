"""Hub datasets, against a stand-in for the hub: what a recipe names is what is read, and what is not there is named."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

pytestmark = pytest.mark.slow
COMMIT = "a" * 40


def rows(first: int, count: int) -> bytes:
    return b"".join(json.dumps({"text": f"t{number}"}).encode() + b"\n" for number in range(first, first + count))


CARD = b"""---
configs:
- config_name: default
  data_files: [{split: train, path: "data/train-*.jsonl"}, {split: test, path: data/test.jsonl}]
- config_name: other
  data_files: extra/*.jsonl
---
"""
FILES = {
    "README.md": CARD,
    "data/train-0.jsonl": rows(0, 30),
    "data/train-1.jsonl": rows(30, 30),
    "data/test.jsonl": rows(900, 20),
    "extra/x.jsonl": rows(5000, 7),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as the libraries ask for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _send(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, name: str) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(FILES[name]), "oid": hashlib.sha1(FILES[name]).hexdigest()}

    def _inside(self, folder: str, everything: bool) -> list[dict[str, Any]]:
        names = [name for name in FILES if name.startswith(folder)]
        if everything:
            return [self._file(name) for name in names]
        parts = {name[len(folder) :].split("/")[0] for name in names}
        return [self._known(folder + part) for part in sorted(parts)]

    def _known(self, name: str) -> dict[str, Any]:
        return self._file(name) if name in FILES else {"type": "directory", "path": name, "oid": "x", "size": 0}

    def do_GET(self) -> None:
        path = self.path.split("?")[0].replace("%2F", "/")
        if found := re.fullmatch(r"/api/datasets/org/name(?:/revision/([^/]+))?", path):
            if found[1] not in (None, "main", "v2", COMMIT):
                return self._send(b"{}", 404, X_Error_Code="RevisionNotFound")
            facts = {"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
            return self._send(json.dumps(facts | {"tags": [], "private": False, "downloads": 1, "likes": 0}).encode())
        if found := re.fullmatch(r"/api/datasets/org/name/tree/[^/]+/?(.*)", path):
            inside = self._inside(found[1] + "/" * bool(found[1]), "recursive=true" in self.path.lower())
            return self._send(json.dumps(inside).encode())
        found = re.fullmatch(r"/datasets/org/name/resolve/[^/]+/(.*)", path)
        if found and found[1] in FILES:
            body = FILES[found[1]]
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
            if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                start, end = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
                headers["Content_Range"] = f"bytes {start}-{end}/{len(body)}"
                return self._send(body[start : end + 1], 206, **headers)
            return self._send(body, **headers)
        code = "EntryNotFound" if path.startswith(("/datasets/org/name", "/api/datasets/org/name")) else "RepoNotFound"
        return self._send(b"{}", 404, X_Error_Code=code)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        names = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        known = [name for name in names if any(file.startswith(name) for file in FILES)]
        self._send(json.dumps([self._known(name) for name in known]).encode())


READ = """
import json, sys
from finetune.data.entries import open_source
from finetune.errors import DataError
for line in sys.stdin:
    hub, files, stream, path = json.loads(line)
    source = {"hub": {"split": "train", "name": None, "revision": None} | hub, "files": files, "stream": stream}
    try:
        entry = open_source(purpose="train", path=path, form=None, source=source, fields={"roles": {}})
        texts = [row[2]["text"] for stretch in entry.stretches(0) for row in stretch.rows]
        answer = [entry.commit, len(texts), texts[0], texts[-1]]
    except DataError as error:
        answer = str(error)
    print("ANSWER", json.dumps(answer), flush=True)
"""
STREAM = {"max_rows": None, "examples": 5, "tokens": None}
CASES: dict[str, tuple[Any, ...]] = {
    "a split": ({}, {}, None, [COMMIT, 60, "t0", "t59"]),
    "another split": ({"split": "test"}, {}, None, [COMMIT, 20, "t900", "t919"]),
    "a slice": ({"split": "train[50%:]"}, {}, None, [COMMIT, 30, "t30", "t59"]),
    "a configuration": ({"name": "other"}, {}, None, [COMMIT, 7, "t5000", "t5006"]),
    "a revision": ({"revision": "v2"}, {}, None, [COMMIT, 60, "t0", "t59"]),
    "files": ({}, {"data_files": ["extra/*.jsonl"]}, None, [COMMIT, 7, "t5000", "t5006"]),
    "streamed": ({}, {}, STREAM, [COMMIT, 60, "t0", "t59"]),
    "a streamed slice": ({"split": "train[5:]"}, {}, STREAM, [COMMIT, 55, "t5", "t59"]),
    "a revision it has not": ({"revision": "no"}, {}, None, "has no revision 'no': correct datasets.revision"),
    "a file it has not": ({}, {"data_files": "y.jsonl"}, None, "has no file y.jsonl .it has README.md, data/train"),
    "a split it has not": ({"split": "no"}, {}, None, 'Unknown split "no"'),
    "a configuration it has not": ({"name": "no"}, {}, None, "'no' not found. Available: ..default', 'other'"),
    "a kind of file": ({}, {"ds_type": "json"}, None, "remove datasets.ds_type"),
    "no such dataset": ({}, {}, None, "the hub has no such dataset: check the spelling", "org/none"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that tell a process of the stand-in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path_factory.mktemp("hub")),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    server.shutdown()
    server.server_close()


def answered(cases: list[tuple[Any, ...]], variables: dict[str, str]) -> list[Any]:
    """What becomes of each case; all in one process, which alone is told of the stand-in."""
    lines = [json.dumps([*case[:3], case[4] if len(case) > 4 else "org/name"]) for case in cases]
    done = subprocess.run(
        [sys.executable, "-c", READ], input="\n".join(lines), env=os.environ | variables, capture_output=True, text=True
    )
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(found) == len(cases), done.stderr
    return found


@pytest.fixture(scope="module")
def answers(told: dict[str, str]) -> dict[str, Any]:
    return dict(zip(CASES, answered(list(CASES.values()), told), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_is_named_is_read_and_what_is_not_there_is_named(name: str, answers: dict[str, Any]) -> None:
    expected, found = CASES[name][3], answers[name]
    if isinstance(expected, list):
        assert found == expected
    else:
        assert isinstance(found, str) and re.search(expected, found), found


def test_offline_no_rows_of_another_commit_are_taken_for_those_that_are_locked(
    answers: dict[str, Any], told: dict[str, str]
) -> None:
    assert answers["a split"][0] == COMMIT, "they were downloaded"
    offline = told | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    cases: list[tuple[Any, ...]] = [
        ({"name": "default", "revision": commit}, {}, None) for commit in (COMMIT, "b" * 40)
    ]
    same, other = answered(cases, offline)
    assert same == [None, 60, "t0", "t59"]
    assert f"asked for at commit {'b' * 40}" in other and COMMIT in other


def test_a_recipe_of_hub_data_is_locked_by_its_commits_and_trained_by_them(
    told: dict[str, str], write_recipe: Any, tmp_path: Path
) -> None:
    sources = [{"path": "org/name", "type": "completion"}, {"path": "hf://datasets/org/name/extra/x.jsonl"}]
    recipe = write_recipe(datasets=[sources[0], sources[1] | {"type": "completion"}], sample_prompts=[])

    def finetune(*words: object) -> str:
        command = [sys.executable, "-m", "finetune", *map(str, words)]
        done = subprocess.run(command, env=os.environ | told, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    finetune("lock", recipe)
    assert recipe.with_suffix(".lock").read_text().count(f"commit: {COMMIT}") == 2
    assert "holds" in finetune("lock", recipe, "--check")
    calls = json.loads(finetune("plan", recipe, "--frozen", "--json"))["stages"]["format"]
    opened = [call["arguments"] for call in calls if call["target"].endswith("open_source")]
    assert opened[0]["source"]["hub"]["revision"] == COMMIT
    assert opened[1]["path"] == f"hf://datasets/org/name@{COMMIT}/extra/x.jsonl"
    finetune(recipe, "--frozen")
    assert f"commit: {COMMIT}" in (tmp_path / "run" / "lock.yaml").read_text()
