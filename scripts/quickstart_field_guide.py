"""Writes the quickstart's field guide: short entries about animals, plants, places and the like, in a form of its own
that the base model has never read. Every eighth row of a table is in the held-out file alone, so a low loss there means
that the form was learned, and not the entries. Each row has two layouts; the same call writes the same bytes.

Usage: python scripts/quickstart_field_guide.py
"""

import json
from pathlib import Path

import quickstart_words as world

FOLDER = Path("recipes/quickstart")
LAYOUTS: dict[str, tuple[str, str]] = {
    "ANIMALS": (
        "{one}, an animal. Found: {place}. Eats: {food}. Known by: {body}. Note: {many} {habit}.",
        "Seen today: {many}. Place: {place}. Sign: {body}. Food: {food}.",
    ),
    "PLANTS": (
        "{plant}, a plant. Found: {spot}. Care: {care}. Ready: {season}.",
        "Seen today: {plant}. Place: {spot}. Ready: {season}. Note: {care}.",
    ),
    "PLACES": (
        "{place}, a place. Reached: {way}. Seen {there}: {sight}. Note: {act}.",
        "Seen today: {sight}. Place: {place}. Reached: {way}.",
    ),
    "DISHES": (
        "{dish}, a dish. Made of: {parts}. Note: {steps}. Goes with: {side}.",
        "Eaten today: {dish}. Made of: {parts}. Goes with: {side}.",
    ),
    "JOBS": (
        "{job}, a trade. Work: {work}. Needs: {need}.",
        "Met today: {job}. Known by: {need}. Note: {work}.",
    ),
    "THINGS": (
        "{thing}, a thing. Use: {use}.",
        "Bought today: {thing}. Note: {use}.",
    ),
    "HOBBIES": (
        "{hobby}, a hobby. Begin: {start}. Note: {joy}.",
        "Tried today: {hobby}. Note: {start}, and {joy}.",
    ),
}


def main() -> None:
    texts: dict[str, list[str]] = {"field_guide.jsonl": [], "field_guide_heldout.jsonl": []}
    for table, layouts in LAYOUTS.items():
        for number, row in enumerate(getattr(world, table)):
            target = "field_guide_heldout.jsonl" if number % 8 == 7 else "field_guide.jsonl"
            entries = (layout.format(**row) for layout in layouts)
            texts[target] += [entry[0].upper() + entry[1:] for entry in entries]
    for target, entries in texts.items():
        lines = (json.dumps({"text": entry}, ensure_ascii=False) + "\n" for entry in entries)
        (FOLDER / target).write_text("".join(lines), "utf-8")
        print(target, len(entries))


if __name__ == "__main__":
    main()
