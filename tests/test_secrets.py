"""A secret in a recipe is an error wherever it hides, and is never shown or stored."""

from pathlib import Path
from typing import Any

import pytest

GOOD = "base_model: m\ndatasets: [{path: org/data}]\noutput_dir: o\n"
HF = "hf_" + "aB3dE6gH9j" * 3
OPENAI = "sk-" + "proj-Ab12Cd34Ef56Gh78Ij90"


@pytest.mark.parametrize(
    ("lines", "secret", "line"),
    [
        (f"hf_use_auth_token: {HF}", HF, 4),
        (f"wandb_project: {OPENAI}", OPENAI, 4),
        (f"# token: {HF}", HF, 4),
        (f"unknown_key: {HF}", HF, 4),
        (f"lora_r: {HF}", HF, 4),
        (f"test_datasets: [{{path: 'https://me:{HF}@host/x.jsonl'}}]", HF, 4),
        ("comet_api_key: abcdef0123456789", "abcdef0123456789", 4),
        ("hf_token: my-own-secret", "my-own-secret", 4),
        ("wandb_api_key: 0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567", 4),
        ("aws: AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE", 4),
        ("seed: 1\nsample_prompts:\n  - |\n    -----BEGIN RSA PRIVATE KEY-----", "PRIVATE KEY", 7),
    ],
)
def test_a_secret_is_refused_at_its_line_and_not_shown(
    tmp_path: Path, finetune: Any, lines: str, secret: str, line: int
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD + lines + "\n")
    for command in ("validate", "plan", "explain", "train"):
        code, out, err = finetune(command, path)
        assert code == 3 and f"r.yaml:{line}:" in err and "[FT006]" in err, (command, err)
        assert secret not in out + err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("key", ["hub_token", "wandb_project", "sample_prompts"])
def test_a_secret_in_an_override_is_refused_and_not_shown(tmp_path: Path, finetune: Any, key: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    code, out, err = finetune("plan", path, f"{key}={HF}")
    assert code == 3 and "[FT006]" in err and HF not in out + err


def test_a_secret_from_the_environment_is_refused_too(
    tmp_path: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", HF)
    path = tmp_path / "r.yaml"
    path.write_text(GOOD + "wandb_name: ${oc.env:HF_TOKEN}\nwandb_project: p\n")
    code, out, err = finetune("plan", path)
    assert code == 3 and "r.yaml:4:" in err and HF not in out + err


@pytest.mark.parametrize(
    "line",
    [
        "revision_of_model: 0123456789abcdef0123456789abcdef01234567",
        "special_tokens: {pad_token: <pad>, eos_token: </s>}",
        "hf_use_auth_token: true",
        "tokens: [<secret>, '<password>']\nadapter: lora\nlora_modules_to_save: [embed_tokens]",
        "sample_prompts: [What is a password?]",
        "wandb_run_id: abc123\nwandb_project: token-study",
    ],
)
def test_what_only_sounds_like_a_secret_is_none(tmp_path: Path, finetune: Any, line: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD + line + "\n")
    assert finetune("validate", path)[0] == 0
