"""What a release holds: the package with its recipes and versions, whole, without anything that is not for its users;
and how it behaves where there is no clone."""

import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from finetune import __version__
from finetune.recipe import copying, shipped
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")
CODE = sorted((ROOT / "finetune").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").rglob("*.yaml"))]
JUNK = re.compile(r"(^|/)(__pycache__|\.venv|\.git|outputs|dist|build|\.[a-z]+_cache)(/|$)|\.pyc$|~$")


def held(builder: Any) -> dict[str, Path]:
    """Path in the archive -> file, of what a build would take; builds nothing."""
    return {file.distribution_path: Path(file.path) for file in builder(str(ROOT)).recurse_included_files()}


def test_the_wheel_holds_the_package_its_recipes_and_versions_and_nothing_else() -> None:
    files = held(WheelBuilder)
    assert not [name for name in files if not name.startswith("finetune/") or JUNK.search(name)]
    package = [path for path in (ROOT / "finetune").rglob("*") if path.is_file() and not JUNK.search(str(path))]
    below = [path for path in (ROOT / "recipes").rglob("*") if path.is_file() and not JUNK.search(str(path))]
    wanted = {path.relative_to(ROOT).as_posix() for path in package}
    wanted |= {f"finetune/share/{path.relative_to(ROOT).as_posix()}" for path in below}
    assert set(files) == wanted | {"finetune/share/constraints.txt"}
    assert "finetune/py.typed" in files
    assert sum(path.stat().st_size for path in files.values()) < 12_000_000, "what everybody downloads stays small"


def test_the_sdist_holds_what_building_and_testing_need() -> None:
    files = held(SdistBuilder)
    assert not [name for name in files if JUNK.search(name)]
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert tests | {"LICENSE", "CHANGELOG.md", "constraints.txt", "schemas/recipe.schema.json"} <= set(files)
    assert set(held(WheelBuilder)) <= {
        *files,
        *(f"finetune/share/{name}" for name in files if name.startswith(("recipes/", "constraints"))),
    }


def test_the_version_stands_in_one_place_and_heads_the_list_of_changes() -> None:
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version", "readme"]
    assert WheelBuilder(str(ROOT)).metadata.version == __version__
    headings = re.findall(r"^## (\S+) \((.*)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0][0] == __version__


def test_every_extra_that_is_named_is_one_and_every_extra_is_named() -> None:
    text = "\n".join(path.read_text() for path in (*CODE, *PAGES))
    named = {extra for group in re.findall(r"finetune-recipes\[([\w,-]+)\]", text) for extra in group.split(",")}
    ours = {"test", "dev", "docs"}  # for work on finetune itself
    assert named - ours == set(PROJECT["optional-dependencies"]) - ours


def test_the_tested_set_lies_within_the_ranges() -> None:
    """And pins all that is asked for but what a GPU needs, whose versions the extra itself holds."""

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    pins = {plain(name): pin for name, pin in PINS.items()}
    for line in itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        asked = Requirement(line)
        pin = pins.get(plain(asked.name))
        assert pin is None or asked.specifier.contains(pin), line
        assert pin is not None or asked.name in ("unsloth", "unsloth_zoo", "types-PyYAML"), line


def test_the_versions_that_messages_name_are_the_tested_ones() -> None:
    for path in (*CODE, *PAGES):
        for name, version in re.findall(r"pip install '?([\w-]+)==([\d.]+\d)", path.read_text()):
            assert PINS[name] == version, path


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_shipped_recipe_is_copied_with_all_that_it_reads(finetune: Any, tmp_path: Path) -> None:
    code, out, err = finetune("recipes", "quickstart_scored", "--to", tmp_path)
    assert (code, err) == (0, ""), err
    base = {f"recipes/quickstart/base/{path.name}" for path in (ROOT / "recipes/quickstart/base").iterdir()}
    data = {f"recipes/quickstart/{name}.jsonl" for name in ("conversations", "heldout")}
    own = {f"recipes/{name}.yaml" for name in ("quickstart", "quickstart_scored")}
    assert below(tmp_path) == base | data | own | {"schemas/recipe.schema.json"}
    assert f"finetune {tmp_path}/recipes/quickstart_scored.yaml" in out
    code, _, err = finetune("validate", tmp_path / "recipes")
    assert (code, err) == (0, "")


def test_every_shipped_recipe_can_be_copied_and_stands_where_it_is_copied(tmp_path: Path) -> None:
    from finetune.recipe.load import load_recipe

    for name, path in shipped.recipes().items():
        made = copying.copy(name, tmp_path, "{}")
        assert made.recipe.read_bytes() == path.read_bytes()
        assert [note.message for note in load_recipe(made.recipe).notes] == [
            note.message for note in load_recipe(path).notes
        ]


def test_the_shipped_recipes_are_listed_with_what_each_is_for(finetune: Any) -> None:
    code, out, _ = finetune("recipes")
    assert code == 0
    for name, path in shipped.recipes().items():
        assert re.search(rf"^{re.escape(name)} +\w", out, re.MULTILINE), name
        assert 20 < len(shipped.purpose(path)) < 260, f"{name}: begin the comment at its top with what it is for"


def test_a_changed_file_is_replaced_only_when_told_to(finetune: Any, tmp_path: Path) -> None:
    assert finetune("recipes", "quickstart", "--to", tmp_path)[0] == 0
    assert finetune("recipes", "quickstart", "--to", tmp_path)[0] == 0, "the same files are in nobody's way"
    recipe = tmp_path / "recipes" / "quickstart.yaml"
    recipe.write_text("mine")
    (tmp_path / "recipes" / "quickstart" / "heldout.jsonl").unlink()
    code, _, err = finetune("recipes", "recipes/quickstart.yaml", "--to", tmp_path)
    assert code == 2 and f"{recipe} is there and not as shipped; --force" in err
    assert recipe.read_text() == "mine" and not (tmp_path / "recipes" / "quickstart" / "heldout.jsonl").exists()
    assert finetune("recipes", "quickstart", "--to", tmp_path, "--force")[0] == 0
    assert recipe.read_bytes() == (ROOT / "recipes" / "quickstart.yaml").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quikstart"], "did you mean `quickstart`?"),
        (["zzz"], "`finetune recipes` lists them"),
        (["quickstart", "--to", "/proc/none"], "cannot be written"),
        (["quickstart", "--to", "a" * 300], "cannot be written"),
        (["quickstart", "--to", str(ROOT / "LICENSE")], "cannot be written"),
    ],
)
def test_a_copy_that_cannot_be_made_is_said(words: list[str], says: str, finetune: Any) -> None:
    code, out, err = finetune("recipes", *words)
    assert code == 2 and says in err and out == ""


def test_a_shipped_recipe_that_is_not_here_is_offered(finetune: Any, tmp_path: Path) -> None:
    code, _, err = finetune("validate", tmp_path / "recipes" / "quickstart.yaml")
    assert code == 3 and "`finetune recipes quickstart` writes the shipped one" in err
    assert "finetune recipes" not in finetune("validate", tmp_path / "other.yaml")[2]


def test_the_tested_set_is_printed_for_pip(finetune: Any) -> None:
    assert finetune("doctor", "--constraints")[1] == (ROOT / "constraints.txt").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, built from the sdist, and this one's libraries."""
    folder = tmp_path_factory.mktemp("release")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    subprocess.run([*build, "-t", "wheel"], cwd=folder / archive.name[:-7], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "libraries.pth").write_text(
        subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, check=True).stdout
    )
    return python.parent


@pytest.mark.slow
def test_an_installed_release_does_without_a_clone(installed: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"COLUMNS": "200"}

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    program, python = str(installed / "finetune"), str(installed / "python")
    code = "import finetune; print(finetune.__file__)"
    assert run(python, "-c", code).startswith(str(installed.parent)), "or the clone is tested instead"
    assert run(program, "--version") == run(python, "-m", "finetune", "--version") == f"finetune {__version__}\n"
    assert run(program, "schema") == (ROOT / "schemas" / "recipe.schema.json").read_text()
    assert run(program, "doctor", "--constraints") == (ROOT / "constraints.txt").read_text()
    run(program, "recipes", "quickstart")
    assert run(program, "validate", "recipes") == "recipes/quickstart.yaml: valid\n"
    assert "[train]" in run(program, "plan", "recipes/quickstart.yaml")
    short = ("max_steps=3", "num_epochs=null", "generation_max_new_tokens=4")
    run(python, "-m", "finetune", "recipes/quickstart.yaml", *short)
    assert json.loads((tmp_path / "outputs" / "quickstart" / "run.json").read_text())["steps"] == 3
    (tmp_path / "talks.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n' * 9
    )
    run(program, "new", "mine.yaml", "--model", "recipes/quickstart/base", "--data", "talks.jsonl", "--gpu", "none")
    run(program, "validate", "mine.yaml")


RELATIVE = re.compile(r"\]\((?!https?:|#)")


def test_no_link_of_the_page_on_pypi_leads_nowhere() -> None:
    """Without a repository they are words; with one, each file that is named is there."""
    from hatch_build import page

    readme = (ROOT / "README.md").read_text()
    shown = WheelBuilder(str(ROOT)).metadata.core.readme
    assert len(RELATIVE.findall(readme)) > 20, "there is something to mend"
    assert not RELATIVE.search(shown) and "The tutorial goes from" in shown.replace("\n", " ")
    fences = re.findall(r"^```.*?^```$", readme, re.MULTILINE | re.DOTALL)
    assert all(fence in shown for fence in fences), "examples stay as they are"
    linked = page(readme, "https://github.com/o/n/", "1.2.0")
    assert not RELATIVE.search(linked)
    targets = re.findall(r"\]\(https://github.com/o/n/blob/v1.2.0/([^)#]+)(?:#[^)]*)?\)", linked)
    assert len(targets) == len(RELATIVE.findall(readme)) and all((ROOT / name).is_file() for name in targets)
    assert page("[a [b] `c|d`](x.md) [w](https://h/x) [h](#x)\n", None, "1") == "a [b] `c|d` [w](https://h/x) [h](#x)\n"
