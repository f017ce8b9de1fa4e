"""The site: every page is in it, every link and anchor leads somewhere, on GitHub too, and it loads nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

LOADS = re.compile(
    r'<(?:script|img|iframe|source)[^>]*\bsrc="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preload|icon)"'
    r'[^>]*href="(?:https?:)?//|@import|url\((?!data:)["\']?(?:https?:)?//'
)


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`make site` on a copy of the repository, into another folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=docs, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder


def test_every_page_of_docs_is_in_the_site_and_none_loads_anything(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert all((site / page).is_file() for page in pages)
    assert (site / "index.html").is_file() and (site / "search" / "search_index.json").is_file()
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not LOADS.search(path.read_text("utf-8")), path


def test_a_recipe_that_a_page_links_to_is_shown_as_it_is(site: Path) -> None:
    shown = (site / "repository" / "recipes" / "quickstart.yaml.html").read_text("utf-8")
    assert "base_model" in shown and "quickstart/base" in shown
    assert 'href="repository/recipes/quickstart.yaml.html"' in (site / "index.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("link", ["nowhere.md", "keys.md#no_such_key", "../recipes/gone.yaml", "#nothing"])
def test_a_link_that_leads_nowhere_fails_the_build(link: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("docs", "recipes", "scripts"):
        (copy / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(copy / name)], check=True)
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "LICENSE"):
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / "docs" / "exit_codes.md").open("a") as page:
        page.write(f"\n[somewhere]({link})\n")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0 and link.split("/")[-1] in done.stdout + done.stderr, done.stdout + done.stderr
