"""Where a message's reasoning stands, and under which name a template reads it. Knows no template."""

from typing import Any

from finetune.formats.meaning import Fields

DEFAULT = "reasoning_content"
"""What most templates call it, and most data."""
PAIRS = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def renamed(extra: dict[str, Any], fields: Fields) -> None:
    """The reasoning under the template's name, where the recipe names one side; else fields keep their names."""
    source, key = fields.thinking or DEFAULT, fields.thinking_key or DEFAULT
    if source != key and source in extra:
        extra[key] = extra.pop(source)


def split(content: str, extra: dict[str, Any], fields: Fields) -> tuple[str, dict[str, Any]]:
    """(the content without its reasoning, the fields with it), if the content opens and closes one."""
    for opening, closing in PAIRS:
        start, end = content.find(opening), content.find(closing)
        if start < 0 or end < start:
            continue
        said = content[start + len(opening) : end].strip()
        rest = content[end + len(closing) :].lstrip()
        first, last = (rest.find(mark) for mark in SOLUTION)
        if 0 <= first < last:
            rest = rest[first + len(SOLUTION[0]) : last].strip()
        return rest, {**extra, fields.thinking_key or DEFAULT: said}
    return content, extra
