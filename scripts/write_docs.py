"""Write the pages of docs/ that the code knows best: python scripts/write_docs.py [--check]

Decides which file comes from which function, and knows nothing of the texts. Prints nothing when every page is fresh.
--check writes nothing, names the stale pages and exits with 1."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this checkout's texts, whatever is installed

from finetune.forms_page import with_forms  # noqa: E402
from finetune.gallery import with_figures  # noqa: E402
from finetune.gallery_page import gallery_page  # noqa: E402
from finetune.importing.page import with_tables  # noqa: E402
from finetune.keys import keys_page  # noqa: E402
from finetune.reporting import codes_page  # noqa: E402

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/codes.md": codes_page,
    "docs/data.md": lambda: with_forms((ROOT / "docs/data.md").read_text("utf-8")),
    "docs/import.md": lambda: with_tables((ROOT / "docs/import.md").read_text("utf-8")),
    "docs/keys.md": keys_page,
    # Their headers hold figures of the plan, and stand in the table of the page after them.
    **{f"recipes/{path.name}": partial(with_figures, path) for path in sorted((ROOT / "recipes").glob("*.yaml"))},
    "recipes/README.md": partial(gallery_page, ROOT / "recipes"),
}


def main(arguments: list[str], root: Path = ROOT) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = 0
    for name, give in PAGES.items():
        text = give()
        if _read(root / name) == text:
            continue
        stale += 1
        if arguments:
            print(f"{name} is stale; run: make docs", file=sys.stderr)
        else:
            (root / name).write_bytes(text.encode())
            print(f"wrote {name}")
    return 1 if arguments and stale else 0


def _read(path: Path) -> str | None:
    return path.read_bytes().decode() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
