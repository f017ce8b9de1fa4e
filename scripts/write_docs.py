"""Write the pages of docs/ that the code knows best: python scripts/write_docs.py [--check]

Decides which file comes from which function, and knows nothing of the texts. Prints nothing when every page is fresh.
--check writes nothing, names the stale pages and exits with 1."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this checkout's texts, whatever is installed

from finetune.forms_page import with_forms  # noqa: E402
from finetune.keys import keys_page  # noqa: E402
from finetune.reporting import codes_page  # noqa: E402

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/codes.md": codes_page,
    "docs/data.md": lambda: with_forms((ROOT / "docs/data.md").read_text("utf-8")),
    "docs/keys.md": keys_page,
}


def main(arguments: list[str], root: Path = ROOT) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = [(name, text) for name, give in PAGES.items() if _read(root / name) != (text := give())]
    for name, text in stale:
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
