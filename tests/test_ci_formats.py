"""`validate` for other programs: JSON, GitHub's annotations, SARIF; the page of codes, the hooks and the action."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from finetune import __version__
from finetune.cli import main
from finetune.codes import CODES
from finetune.commands import validate
from finetune.errors import Fault, Where
from finetune.reporting import FORMS, Findings, Report, rendered
from tests.conftest import ROOT

GOOD = "base_model: m\ndatasets: [{path: a/b}]\noutput_dir: o\n"
WARNED = GOOD.replace("a/b", "gone.jsonl")
BAD = GOOD + "lora_rank: 1\n"
LIGHT = ("pydantic", "PyYAML", "omegaconf", "jinja2", "rich")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
# GITHUB_WORKSPACE of the machine that runs the tests must not decide what they see.
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "FINETUNE_"))}


def process(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finetune", "validate", *arguments]
    environment = PLAIN | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A checkout with a good recipe, one with a warning, a wrong one under a difficult name and a broken one."""
    folder = tmp_path / "recipes" / "a b"
    folder.mkdir(parents=True)
    (tmp_path / "recipes" / "good.yaml").write_text(GOOD)
    (tmp_path / "recipes" / "warned.yaml").write_text(WARNED)
    (folder / "100%,ü.yaml").write_text(BAD)
    (folder / "broken.yaml").write_text("")
    return tmp_path


def test_every_format_that_can_be_asked_for_is_rendered_and_no_other() -> None:
    assert set(validate.FORMATS) == {"text", *FORMS}


@pytest.mark.parametrize("form", validate.FORMATS)
def test_the_exit_code_is_the_same_in_every_format(form: str, team: Path) -> None:
    for arguments, code in (
        (["recipes"], 3),
        (["recipes/good.yaml"], 0),
        (["recipes/warned.yaml"], 0),
        (["recipes/warned.yaml", "--strict"], 3),
        (["recipes/good.yaml", "--strict"], 0),
        (["gone.yaml"], 3),
    ):
        done = process(team, *arguments, "--format", form)
        assert done.returncode == code, (arguments, done.stderr)
        assert form == "text" or done.stderr == ""


def test_text_says_why_a_strict_call_refuses_a_recipe_with_warnings(team: Path) -> None:
    done = process(team, "recipes/warned.yaml", "--strict")
    assert "warned.yaml: valid" not in done.stdout
    assert "not valid, because --strict counts warnings" in done.stdout


def test_notes_pass_a_strict_call(tmp_path: Path) -> None:
    # An old spelling that is only understood otherwise gets a note.
    (tmp_path / "r.yaml").write_text(GOOD + "adapter: lora\nevaluation_strategy: epoch\nval_set_size: 0.1\n")
    found = json.loads(process(tmp_path, "r.yaml", "--strict", "--format", "json").stdout)
    faults = found["recipes"][0]["faults"]
    assert {fault["severity"] for fault in faults} == {"note"} and found["recipes"][0]["valid"], faults


def test_json_names_every_recipe_with_every_fault_and_its_place(team: Path) -> None:
    found = json.loads(process(team, "recipes", "gone.yaml", "--format", "json").stdout)
    assert (found["version"], found["exit_code"], found["faults"]) == (__version__, 3, [])
    recipes = {Path(recipe["path"]).name: recipe for recipe in found["recipes"]}
    valid = {name: recipe["valid"] for name, recipe in recipes.items()}
    wrong = dict.fromkeys(["100%,ü.yaml", "broken.yaml", "gone.yaml"], False)
    assert valid == {"good.yaml": True, "warned.yaml": True} | wrong
    (fault,) = recipes["100%,ü.yaml"]["faults"]
    assert set(fault) == {"code", "severity", "message", "file", "line", "column"}
    assert (fault["severity"], fault["line"], fault["column"]) == ("error", 4, 1)
    assert fault["file"] == recipes["100%,ü.yaml"]["path"] and "lora_r" in fault["message"]
    (missing,) = recipes["gone.yaml"]["faults"]
    assert (missing["file"], missing["line"], missing["column"]) == ("gone.yaml", None, None)


def test_a_call_that_is_wrong_is_said_in_the_format_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outputs = {}
    for form in FORMS:
        done = process(tmp_path, "empty", "--format", form)
        assert (done.returncode, done.stderr) == (2, "")
        outputs[form] = done.stdout
    found = json.loads(outputs["json"])
    assert found["recipes"] == [] and "empty" in found["faults"][0]["message"]
    assert outputs["github"].startswith("::error title=finetune::empty: there is no .yaml")
    run = json.loads(outputs["sarif"])["runs"][0]
    assert run["results"] == [] and run["invocations"][0]["executionSuccessful"] is False
    assert "empty" in run["invocations"][0]["toolConfigurationNotifications"][0]["message"]["text"]


def as_github_reads(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as GitHub's runner takes it apart."""
    name, properties, message = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line).groups()  # type: ignore[union-attr]
    pairs = dict(pair.split("=", 1) for pair in properties.split(","))
    return name, {key: unquote(value) for key, value in pairs.items()}, unquote(message)


def test_annotations_stand_at_their_lines_whatever_a_file_is_called(team: Path) -> None:
    lines = process(team, "recipes", "--format", "github").stdout.splitlines()
    assert lines.pop() == "2 of 4 recipes are valid"
    commands = [as_github_reads(line) for line in lines]
    by_file = {properties["file"]: (name, properties, message) for name, properties, message in commands}
    name, properties, message = by_file["recipes/a b/100%,ü.yaml"]
    assert (name, properties["line"], properties["col"]) == ("error", "4", "1")
    assert message.startswith("recipes/a b/100%,ü.yaml:4:1: ") and "lora_r" in message
    assert by_file["recipes/warned.yaml"][0] == "warning"
    assert "line" not in by_file["recipes/a b/broken.yaml"][1]


def findings(*faults: Fault, here: str = "/work") -> Findings:
    return Findings((Report("r.yaml", False, faults),), (), 3, here, "/work", "docs/codes.md")


def test_an_annotation_cannot_be_broken_out_of() -> None:
    text = "50% of a:b,c\r\n::error::not mine"
    line, _ = rendered("github", findings(Fault(text, Where("a:b,c\n%.yaml", 3, 7), "note", "FT010"))).splitlines()
    assert line.startswith("::notice file=a%3Ab%2Cc%0A%25.yaml,line=3,col=7,title=FT010 ")
    assert line.endswith("::a:b,c%0A%25.yaml:3:7: 50%25 of a:b,c%0D%0A::error::not mine")


def test_paths_are_relative_to_the_checkout_from_below_it_and_whole_outside(team: Path) -> None:
    (team / "other.yaml").write_text(BAD)
    for arguments, env, shown in (
        (["good/../a b/100%,ü.yaml"], {"GITHUB_WORKSPACE": str(team)}, "recipes/a b/100%,ü.yaml"),
        (["a b/100%,ü.yaml"], {}, "a b/100%,ü.yaml"),
        (["a b/100%,ü.yaml"], {"GITHUB_WORKSPACE": "/elsewhere"}, "a b/100%,ü.yaml"),
        ([str(team / "other.yaml")], {}, str(team / "other.yaml")),
        ([str(team / "other.yaml")], {"GITHUB_WORKSPACE": str(team)}, "other.yaml"),
    ):
        (team / "recipes" / "good").mkdir(exist_ok=True)
        out = process(team / "recipes", *arguments, "--format", "github", **env).stdout
        assert as_github_reads(out.splitlines()[0])[1]["file"] == shown


def test_recipes_that_share_a_wrong_file_annotate_it_once() -> None:
    fault = Fault("wrong", Where("base.yaml", 2, 1))
    both = Findings((Report("a.yaml", False, (fault,)), Report("b.yaml", False, (fault,))), (), 3, "/", "/", "d")
    assert rendered("github", both).count("::error") == 1
    assert len(json.loads(rendered("sarif", both))["runs"][0]["results"]) == 1
    assert all(recipe["faults"] for recipe in json.loads(rendered("json", both))["recipes"])


TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 3}}}
LEVEL = {"enum": ["error", "warning", "note"]}
POSITIVE = {"type": "integer", "minimum": 1}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def listed(items: Any, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


# What SARIF 2.1.0 and GitHub's reader of it demand of the part of SARIF that is written here.
SARIF = closed(
    **{"$schema": {"type": "string"}},
    version={"const": "2.1.0"},
    runs=listed(
        closed(
            tool=closed(
                driver=closed(
                    name={"const": "finetune"},
                    semanticVersion={"const": __version__},
                    rules=listed(
                        closed(
                            id={"pattern": "^FT[0-9]{3}$"},
                            shortDescription=TEXT,
                            fullDescription=TEXT,
                            help=closed(text={"type": "string"}, markdown={"type": "string"}),
                            helpUri={"pattern": r"docs/codes\.md#ft[0-9]{3}$"},
                            defaultConfiguration=closed(level=LEVEL),
                        ),
                        1,
                    ),
                )
            ),
            invocations=listed(closed(executionSuccessful={"const": True}, exitCode={"type": "integer"}), 1),
            columnKind={"const": "unicodeCodePoints"},
            results=listed(
                closed(
                    ruleId={"pattern": "^FT[0-9]{3}$"},
                    ruleIndex={"type": "integer", "minimum": 0},
                    level=LEVEL,
                    message=TEXT,
                    locations=listed(
                        closed(
                            physicalLocation={
                                "additionalProperties": False,
                                "required": ["artifactLocation"],
                                "properties": {
                                    "artifactLocation": {
                                        "required": ["uri"],
                                        "properties": {"uri": {"pattern": r"^[!-~]+$"}, "uriBaseId": {}},
                                    },
                                    "region": closed(startLine=POSITIVE, startColumn=POSITIVE),
                                },
                            }
                        ),
                        1,
                    ),
                )
            ),
        ),
        1,
    ),
)


def test_sarif_has_the_structure_that_code_scanning_reads(team: Path) -> None:
    log = json.loads(process(team, "recipes", "gone.yaml", "--format", "sarif").stdout)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    official = os.environ.get("SARIF_SCHEMA")  # the path of OASIS's own schema, which is not shipped here
    if official:
        jsonschema.Draft4Validator(json.loads(Path(official).read_text())).validate(log)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert set(CODES) < set(rules) and len(rules) == len(set(rules))
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    places = {
        unquote(place["artifactLocation"]["uri"]): place
        for result in run["results"]
        for place in [result["locations"][0]["physicalLocation"]]
    }
    assert places["recipes/a b/100%,ü.yaml"]["region"] == {"startLine": 4, "startColumn": 1}
    assert all(place["artifactLocation"]["uriBaseId"] == "%SRCROOT%" for place in places.values())
    for name in ("recipes/a b/broken.yaml", "gone.yaml"):
        assert "region" not in places[name], "no line is known"


@pytest.mark.parametrize(("code", "rule"), [("FT012", "FT012"), ("", "FT000"), ("FT999", "FT000")])
def test_every_sarif_result_has_a_rule_that_is_listed(code: str, rule: str) -> None:
    log = json.loads(rendered("sarif", findings(Fault("what", Where("r.yaml", 1, 1), "warning", code))))
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == (rule, "warning")
    assert log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == rule


def test_a_file_outside_the_checkout_has_a_whole_address_in_sarif() -> None:
    log = json.loads(rendered("sarif", findings(Fault("what", Where("../o t/r.yaml", 1, 1)))))
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "file:///o%20t/r.yaml"}


def test_the_address_of_the_codes_page_can_be_given(team: Path) -> None:
    url = "https://example.org/docs/codes.md"
    out = process(team, "recipes/good.yaml", "--format", "sarif", FINETUNE_DOCS_URL=url).stdout
    rules = json.loads(out)["runs"][0]["tool"]["driver"]["rules"]
    assert f"{url}#ft012" in [rule["helpUri"] for rule in rules]


def write_docs(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "write_docs.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_written_pages_are_fresh(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    # The page of keys, which takes as long as all others, is compared in test_keys_page.py.
    monkeypatch.setattr(script, "PAGES", {name: give for name, give in script.PAGES.items() if "keys.md" not in name})
    assert (script.main(["--check"]), capsys.readouterr()) == (0, ("", ""))


def test_the_script_says_how_it_is_called() -> None:
    done = write_docs("--fresh")
    assert done.returncode == 2 and "--check writes nothing" in done.stderr


def test_a_stale_page_is_named_and_written_anew(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One page stands for all, which take their time.
    monkeypatch.setattr(script, "PAGES", {"docs/codes.md": script.codes_page})
    page = tmp_path / "docs" / "codes.md"
    page.parent.mkdir()
    page.write_text("old")
    assert script.main(["--check"], tmp_path) == 1 and page.read_text() == "old"
    assert "docs/codes.md" in capsys.readouterr().err
    assert script.main([], tmp_path) == 0
    assert page.read_bytes() == (ROOT / "docs" / "codes.md").read_bytes()
    capsys.readouterr()
    assert (script.main([], tmp_path), script.main(["--check"], tmp_path)) == (0, 0)
    assert capsys.readouterr() == ("", "")


def test_the_codes_page_has_a_section_for_every_code_and_says_how_to_silence_it() -> None:
    page = (ROOT / "docs" / "codes.md").read_text()
    for name, code in CODES.items():
        section = page.split(f'<a id="{name.lower()}"></a>')[1].split("<a id=")[0]
        assert f"## {name} {code.title}" in section and f"**{code.severity}**" in section
        assert code.text in " ".join(section.split())
        assert (f"silence: {{{name}:" in section) == (code.severity != "error" and name != "FT024")


def check_jsonschema(kind: str, *paths: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{kind}", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_action_is_one_by_githubs_schema() -> None:
    check_jsonschema("github-actions", ROOT / "action.yml")


def test_the_workflows_of_the_page_are_workflows_that_use_the_actions_inputs(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(# \.github/workflows/(\S+)\n.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for text, name in blocks:
        (tmp_path / name).write_text(text)
        steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
        ours = [step for step in steps if "OWNER/finetune" in step.get("uses", "")]
        assert ours and all(set(step["with"]) <= set(ACTION["inputs"]) for step in ours)
    check_jsonschema("github-workflows", *tmp_path.iterdir(), *(ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_hooks_of_the_page_are_the_hooks_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    names = [hook["id"] for hook in HOOKS]
    assert names == ["finetune-validate", "finetune-validate-installed", "finetune-lock", "finetune-prove"]
    assert all(f"`{name}`" in page for name in names)
    for hook in HOOKS:
        program, command, *options = hook["entry"].split()
        assert (program, hook["pass_filenames"], hook["require_serial"]) == ("finetune", True, True)
        with pytest.raises(SystemExit):
            main([command, *options, "--help"])
        said = capsys.readouterr().out
        assert "usage: finetune" in said and all(option in said for option in options)
        assert re.search(hook["files"], "recipes/team/a.yml") and not re.search(hook["files"], "docs/recipes.yaml")


def closure(names: tuple[str, ...]) -> dict[str, str]:
    """Distribution -> version of these and all that they need, as installed here."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        distribution = importlib.metadata.distribution(name)
        found[name] = distribution.version
        for line in distribution.requires or ():
            if "extra ==" not in line and "sys_platform" not in line:
                waiting.append(re.match(r"[\w.-]+", line)[0])  # type: ignore[index]
    return found


def test_the_light_hook_lists_all_that_checking_needs_by_the_tested_versions() -> None:
    option, *pins = HOOKS[0]["additional_dependencies"]
    assert option == "--no-deps", "or pre-commit installs torch"
    assert set(pins) <= set((ROOT / "constraints.txt").read_text().splitlines())
    listed = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    assert listed == set(closure(LIGHT))


def test_checking_works_where_nothing_else_is_installed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in closure(LIGHT):
        distribution = importlib.metadata.distribution(name)
        for top in {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    for command in (["validate", "recipes", "--format", "json"], ["plan", "recipes/quickstart.yaml", "--gpu", "24"]):
        code = f"import sys; sys.path[:0] = {[str(ROOT), str(site)]!r}; from finetune.cli import main; "
        code += f"sys.exit(main({command!r}))"
        done = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
    missing = "import sys; import torch"
    assert subprocess.run([sys.executable, "-ISc", missing], capture_output=True, check=False).returncode == 1


def step(number: int, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A step of the action, as GitHub's runner starts its shell."""
    script = folder.parent / "step.sh"
    script.write_text(ACTION["runs"]["steps"][number]["run"])
    inputs = {"PATHS": "recipes", "FORMAT": "github", "OUTPUT": "", "STRICT": "false", "REPOSITORY": "", "REF": ""}
    server = {"GITHUB_SERVER_URL": "https://github.com", "RUNNER_TEMP": str(folder.parent)}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=PLAIN | server | inputs | env,
        check=False,
    )


@pytest.fixture
def checkout(team: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The team's checkout beside a finetune where the action's first step leaves one."""
    folder = tmp_path_factory.mktemp("runner")
    (folder / "finetune-check" / "bin").mkdir(parents=True)
    tool = folder / "finetune-check" / "bin" / "finetune"
    tool.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m finetune "$@"\n')
    tool.chmod(0o755)
    return team.rename(folder / "team")


def test_the_action_annotates_and_passes_on_the_exit_code(checkout: Path) -> None:
    done = step(2, checkout)
    assert done.returncode == 3 and done.stdout.count("::error ") == 2, done.stderr
    done = step(2, checkout, PATHS="recipes/good.yaml\n\nrecipes/warned.yaml\n")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 of 2 recipes are valid")
    assert step(2, checkout, PATHS="recipes/warned.yaml", STRICT="true").returncode == 3


def test_the_inputs_of_the_action_are_never_code(checkout: Path) -> None:
    done = step(2, checkout, PATHS="$(touch made)\n; touch made\n--help\nrecipes/a b/100%,ü.yaml")
    assert done.returncode == 3 and done.stdout.count("there is no such file") == 3 and "lora_r" in done.stdout
    assert not (checkout / "made").exists()
    assert not [run for step in ACTION["runs"]["steps"] if "${{" in (run := step.get("run", ""))]


def test_the_action_leaves_a_sarif_file_only_if_recipes_were_checked(checkout: Path) -> None:
    done = step(2, checkout, FORMAT="sarif", OUTPUT="f.sarif", REPOSITORY="owner/finetune", REF="v1")
    log = json.loads((checkout / "f.sarif").read_text())
    assert done.returncode == 3 and log["runs"][0]["results"]
    link = log["runs"][0]["tool"]["driver"]["rules"][1]["helpUri"]
    assert link == "https://github.com/owner/finetune/blob/v1/docs/codes.md#ft001"
    (checkout / "f.sarif").unlink()
    (checkout / "empty").mkdir()
    done = step(2, checkout, FORMAT="sarif", OUTPUT="f.sarif", PATHS="empty")
    assert done.returncode == 2 and not (checkout / "f.sarif").exists() and "no .yaml" in done.stdout


@pytest.mark.slow
def test_the_action_installs_only_what_checking_needs_and_checks(team: Path, tmp_path_factory: Any) -> None:
    folder = team.rename(tmp_path_factory.mktemp("runner") / "team")
    done = step(1, folder, PYTHON=sys.executable, ACTION=str(ROOT))
    assert done.returncode == 0, done.stderr
    python = folder.parent / "finetune-check" / "bin" / "python"
    frozen = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    names = {re.sub(r"[-_.]+", "-", package["name"]).lower() for package in json.loads(frozen.stdout)}
    assert names - {"pip", "setuptools", "finetune-recipes"} == set(closure(LIGHT))
    done = step(2, folder)
    assert done.returncode == 3 and done.stdout.count("::error ") == 2, done.stderr
