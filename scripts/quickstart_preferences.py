"""Writes the quickstart's preferences: for each question to Mira an answer of hers, and the same answer without its
kind question at the end. The chosen one is the shorter: a person who asks wants an answer, not a question back. And its
judgements: of each pair one answer, in turn the chosen one, which is good, and the rejected one, which is not.

Usage: python scripts/quickstart_preferences.py
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path("recipes/quickstart")
ROWS = {"preferences.jsonl": ("conversations.jsonl", 240), "preferences_heldout.jsonl": ("heldout.jsonl", 40)}
JUDGEMENTS = {"preferences.jsonl": "judgements.jsonl", "preferences_heldout.jsonl": "judgements_heldout.jsonl"}


def main() -> None:
    for target, (source, wanted) in ROWS.items():
        rows = []
        for line in (FOLDER / source).read_text("utf-8").splitlines():
            turns = json.loads(line)["conversations"]
            if len(turns) != 2 or not turns[1]["value"].endswith("?"):
                continue
            sentences = re.split(r"(?<=[.!?]) ", turns[1]["value"])
            if len(sentences) < 2 or sentences[-2].endswith("?"):
                continue
            rows.append(
                {"prompt": turns[0]["value"], "chosen": " ".join(sentences[:-1]), "rejected": turns[1]["value"]}
            )
            if len(rows) == wanted:
                break
        write(target, rows)
        write(JUDGEMENTS[target], [judgement(row, number % 2 == 0) for number, row in enumerate(rows)])


def judgement(pair: dict[str, str], good: bool) -> dict[str, object]:
    return {"prompt": pair["prompt"], "completion": pair["chosen" if good else "rejected"], "label": good}


def write(target: str, rows: Sequence[Mapping[str, object]]) -> None:
    (FOLDER / target).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    print(target, len(rows))


if __name__ == "__main__":
    main()
