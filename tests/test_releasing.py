"""The workflows, the image and the check before a release: what they may do, and that what they name is there."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from finetune import __version__
from tests.conftest import ROOT

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
# YAML 1.1 reads the key `on` as true.
READ: dict[str, dict[Any, Any]] = {name: yaml.safe_load(path.read_text()) for name, path in WORKFLOWS.items()}
ACTION = ROOT / "action.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [(name, job, content) for name, whole in READ.items() for job, content in whole["jobs"].items()]


def steps() -> list[dict[str, Any]]:
    return [step for _, _, job in jobs() for step in job["steps"]]


def test_a_workflow_may_read_and_a_job_says_what_more_it_may() -> None:
    assert set(READ) == {"test", "recipes", "docs", "release"}
    assert all(whole["permissions"] == {"contents": "read"} for whole in READ.values())
    more = {(name, job): content["permissions"] for name, job, content in jobs() if "permissions" in content}
    assert more == {
        ("docs", "deploy"): {"pages": "write", "id-token": "write"},
        ("release", "publish"): {"id-token": "write"},
        ("release", "attach"): {"contents": "write"},
    }
    assert not [step for step in steps() if "secrets." in str(step)], "publishing is trusted, by who asks"


def test_no_job_runs_for_hours_or_beside_its_own_successor() -> None:
    assert all(content["timeout-minutes"] <= 45 for _, _, content in jobs())
    assert all(whole["concurrency"]["group"] for whole in READ.values())


def test_actions_of_others_are_pinned_to_a_commit_and_say_its_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in (*WORKFLOWS.values(), ACTION):
        for line in re.findall(r"uses: (.*)", path.read_text()):
            if line == "./":
                continue
            pinned = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+", line)
            assert pinned, f"{path.name}: {line}"
            pins.setdefault(pinned[1], set()).add(pinned[2])
    assert all(len(commits) == 1 for commits in pins.values()), "one version of each"


def test_no_text_from_outside_becomes_code_and_no_token_stays_on_disk() -> None:
    assert not [step["run"] for step in steps() if "${{" in step.get("run", "")]
    checkouts = [step for step in steps() if "actions/checkout@" in step.get("uses", "")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_python_that_is_promised_is_tested_and_tried_before_a_release() -> None:
    promised = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    for job in (READ["test"]["jobs"]["test"], READ["release"]["jobs"]["try"]):
        assert job["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_what_the_workflows_run_is_there() -> None:
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    for line in lines:
        first, *rest = line.split()
        assert first in ("make", ".ci/run", "python", "pip", "finetune", "gh"), line
        assert first != "make" or set(rest) <= TARGETS, line
        assert first not in (".ci/run", "python") or (ROOT / [first, *rest][first == "python"]).is_file(), line
    shipped = [line.split()[1] for line in lines if line.startswith("finetune recipes/")]
    assert shipped and all((ROOT / path).is_file() for path in shipped)
    inputs = yaml.safe_load(ACTION.read_text())["inputs"]
    ours = [step for step in steps() if step.get("uses") == "./"]
    assert ours and all(set(step["with"]) <= set(inputs) for step in ours)


def test_nothing_is_published_that_was_not_checked_and_tried() -> None:
    release = READ["release"]["jobs"]
    assert [release[job]["needs"] for job in ("try", "publish", "attach")] == ["build", "try", "publish"]
    first = [step.get("run", "") for step in release["build"]["steps"]]
    assert any("release_ready.py" in run for run in first) and "make package" in first
    assert READ["release"][True] == {"push": {"tags": ["v[0-9]*"]}}


def test_the_image_starts_the_program_as_nobody_in_particular() -> None:
    assert re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE) == ['["python", "-m", "finetune"]']
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["${USER_ID}"]
    for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", base), "a tag that says what it is"
    torch = re.search(r"^ARG TORCH=(.*)$", DOCKERFILE, re.MULTILINE)
    asked = next(Requirement(line) for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert torch and asked.specifier.contains(torch[1])
    assert f"torch {torch[1]}+cu130" in (ROOT / "docs" / "gpu.md").read_text()
    extras = re.search(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert extras and set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_image_is_given_all_that_the_wheel_is_built_of() -> None:
    from hatchling.builders.wheel import WheelBuilder

    given = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    files = WheelBuilder(str(ROOT)).recurse_included_files()
    tops = {Path(file.path).resolve().relative_to(ROOT.resolve()).parts[0] for file in files}
    assert tops | {"pyproject.toml", "README.md", "hatch_build.py", *PROJECT["license-files"]} == given


@pytest.fixture
def ready() -> Any:
    spec = importlib.util.spec_from_file_location("release_ready", ROOT / "scripts" / "release_ready.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that may be released as v1.2.0."""
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune" / "__init__.py").write_text('"""x"""\n\n__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changes\n\n## 1.2.0 (2026-11-21)\n\n- New.\n\n## 1.1.0 (2026-01-02)\n\n- Old.\n"
    )
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/o/n"\n')
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    return tmp_path


def test_a_release_that_is_ready_says_what_it_changes(ready: Any, checkout: Path, capsys: Any) -> None:
    assert ready.main(["v1.2.0"], checkout) == 0
    assert capsys.readouterr() == ("- New.\n", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("finetune/__init__.py", "1.2.0", "1.3.0", "the tag is v1.2.0, and finetune/__init__.py says 1.3.0"),
        ("CHANGELOG.md", "2026-11-21", "unreleased", "calls 1.2.0 'unreleased'"),
        ("CHANGELOG.md", "## 1.2.0", "## 1.1.9", "begins with 1.1.9"),
        ("pyproject.toml", "Repository", "Homepage", "names no repository"),
        ("constraints.txt", "2.13.0", "2.13.0+cpu", "a local build"),
    ],
)
def test_what_stands_against_a_release_is_named(
    file: str, old: str, new: str, says: str, ready: Any, checkout: Path, capsys: Any
) -> None:
    (checkout / file).write_text((checkout / file).read_text().replace(old, new))
    assert ready.main(["v1.2.0"], checkout) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and says in shown.err


def test_this_checkout_can_be_asked(ready: Any) -> None:
    assert not [line for line in ready.missing(f"v{__version__}", ROOT) if line.startswith("the tag")]
