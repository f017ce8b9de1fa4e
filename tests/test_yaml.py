"""YAML is read by version 1.2's rules, with the place of every key; what could mislead is refused."""

from pathlib import Path

import pytest

from finetune.errors import RecipeError, Where
from finetune.recipe.source import plain, read_file, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("12", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1_000", "1_000"),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("<|end|>", "<|end|>"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_quoted_scalars_stay_text() -> None:
    assert read_text("r", "a: '12'\nb: \"true\"\nc: 'null'").data == {"a": "12", "b": "true", "c": "null"}


def test_every_key_and_item_has_its_line_and_column() -> None:
    source = read_text("r.yaml", "a:\n  - b: 1\n    c: 2\n  - 3\n")
    assert source.where(("a", 0, "c")) == Where("r.yaml", 3, 5)
    assert source.where(("a", 1)) == Where("r.yaml", 4, 5)
    assert source.where(("a", 0, "c", "deeper")) == Where("r.yaml", 3, 5)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("a: 1\nb: 2\na: 3", "r:3:1", "written twice (first on line 1)"),
        ("a: [1, 2", "r:1:4", "not closed"),
        ("a: b: c", "r:1:5", "not YAML"),
        ("\tx: 1", "r:1:1", "not YAML"),
        ("", "r", "empty"),
        ("# only a comment\n", "r", "empty"),
        ("- a\n- b", "r:1:1", "key: value"),
        ("just words", "r:1:1", "key: value"),
        ("a: !!python/object/apply:os.system [ls]", "r:1:4", "tag"),
        ("? [a, b]\n: 1", "r:1:3", "plain text"),
        ("a: *nowhere", "r:1:4", "not YAML"),
        ("a: &x [*x]", "r:1:", "not YAML|nests"),
    ],
)
def test_what_could_mislead_is_refused_with_its_place(text: str, where: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_text("r", text)
    fault = str(caught.value)
    assert fault.startswith(where)
    assert any(part in fault for part in says.split("|"))


def test_a_small_file_that_expands_to_billions_is_refused() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(RecipeError, match="too many values"):
        read_text("r", "\n".join(lines))


def test_merge_keys_and_aliases_are_understood_and_written_keys_win() -> None:
    text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n"
    assert read_text("r", text).data["use"] == {"x": 1, "y": 3}


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_file(path).data == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"a: 1\x00", "binary|not YAML"), (b"a: " + b"x" * 2_000_000, "bytes")],
)
def test_files_that_are_no_recipe_say_why(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_file(path)
    assert any(part in str(caught.value) for part in says.split("|"))
