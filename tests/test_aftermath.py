"""What a training that fails says: the step, the rows, a change of the recipe to paste; and what it leaves whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from finetune import alarm, mending
from finetune.aftermath import compiling
from finetune.errors import MachineError, RunFolderError, TrainingError
from finetune.evaluation.measuring import SAMPLES
from tests import tiny
from tests.crashing import metrics


@pytest.fixture
def poisoned(tiny_models: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A model that gives no number for the letter Z, and 12 rows of which the ninth holds one."""
    from safetensors.torch import load_file, save_file

    model, rows = tmp_path / "model", tmp_path / "rows.jsonl"
    shutil.copytree(tiny_models["chatml"], model)
    file = next(model.glob("*.safetensors"))
    weights = load_file(file)
    token = tiny.tokenizer_of("chatml").encode("Z", add_special_tokens=False)
    weights["model.embed_tokens.weight"][token] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    texts = [f"walk home {'Z' if number == 8 else 'now'} {number}" for number in range(12)]
    lines = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]} for text in texts
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return model, rows


def pasted(text: str) -> dict[str, Any]:
    """The YAML that a message offers."""
    lines = text.split("that may mend it:\n")[1].splitlines()
    end = next((place for place, line in enumerate(lines) if line.startswith("The last")), len(lines))
    found: dict[str, Any] = yaml.safe_load("\n".join(lines[:end]))
    return found


@pytest.mark.parametrize("late", [False, True], ids=["heard at once", "heard in the next step"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dataloader_num_workers": 1, "gradient_accumulation_steps": 2},
        {"group_by_length": True},
        {"sample_packing": True, "sequence_len": 64},
    ],
    ids=["plain", "workers", "by length", "packed"],
)
def test_a_loss_that_is_no_number_names_step_and_rows_and_harms_no_weight(
    changes: dict[str, Any],
    late: bool,
    poisoned: Any,
    write_recipe: Any,
    finetune: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, rows = poisoned
    if late:  # as on a GPU
        monkeypatch.setattr(alarm, "may_wait", lambda trainer: True)
    values = {
        "datasets": [{"path": str(rows)}],
        "max_steps": None,
        "num_epochs": 2,
        "save_steps": 1,
        "logging_steps": 50,
    }
    path = write_recipe(base_model=str(model), **(values | changes))
    code, _, err = finetune(path)
    assert code == TrainingError.exit_code
    assert "loss is nan at step" in err
    named = err.split("Rows of that step: ")[1].splitlines()[0]
    assert f"{rows} row 9" in named, "the row that did it is among those of the step"
    assert pasted(err) == {"learning_rate": 1e-4, "warmup_steps": 20}
    step = int(err.split("loss is nan at step ")[1].split(":")[0])
    kept = [int(path.name.split("-")[1]) for path in (tmp_path / "run" / "checkpoints").glob("checkpoint-*")]
    assert max(kept, default=0) == step - 1


@pytest.mark.parametrize(
    "more", [{}, {"gradient_accumulation_steps": 2}, {"generate_samples": True, "sample_steps": 1}], ids=str
)
def test_a_step_without_numbers_is_named_as_well_if_it_is_heard_of_in_the_next(
    more: dict[str, Any],
    poisoned: Any,
    write_recipe: Any,
    finetune: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    model, rows = poisoned
    values = {"datasets": [{"path": str(rows)}], "max_steps": None, "num_epochs": 1, "save_strategy": "no"}
    path = write_recipe(base_model=str(model), **values, save_steps=None, logging_steps=50, **more)
    found = []
    for waits in (False, True):
        monkeypatch.setattr(alarm, "may_wait", lambda trainer, waits=waits: waits)
        run = tmp_path / str(waits)
        code, _, err = finetune(path, f"output_dir={run}")
        assert code == TrainingError.exit_code
        samples = run / SAMPLES
        asked = [json.loads(line)["step"] for line in samples.read_text().splitlines()] if samples.exists() else []
        found.append((err[err.index("loss is nan at step") :], asked))
    assert found[0] == found[1], "the same step, rows and advice; and nobody asked weights that are no numbers"


def test_the_last_checkpoint_goes_on_once_the_rows_are_mended(
    poisoned: Any, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    model, rows = poisoned
    path = write_recipe(
        base_model=str(model), datasets=[{"path": str(rows)}], max_steps=6, save_steps=1, curriculum_sampling=True
    )
    code, _, err = finetune(path)
    assert "loss is nan at step 5" in err and f"{rows} row 9, {rows} row 10" in err
    rows.write_text(rows.read_text().replace("Z", "now"))
    code, out, err = finetune(path, "--resume-changed", "datasets")
    assert code == 0, err
    assert "goes on after step 4" in out
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_a_full_memory_names_step_rows_and_a_smaller_batch(
    write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    forward, calls = LlamaForCausalLM.forward, []

    def full(self: Any, *given: Any, **named: Any) -> Any:
        calls.append(self.training and torch.is_grad_enabled())  # what is tried before is no step
        if sum(calls) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, *given, **named)

    monkeypatch.setattr(LlamaForCausalLM, "forward", full)
    code, _, err = finetune(write_recipe(max_steps=4, micro_batch_size=4, save_steps=1))
    assert code == TrainingError.exit_code
    assert "the memory is full in step 3" in err and "Tried to allocate 2.00 GiB" in err
    assert err.split("Rows of that step: ")[1].splitlines()[0].count(" row ") == 4
    assert pasted(err) == {"micro_batch_size": 2, "gradient_accumulation_steps": 2}
    assert "--resume --resume-changed" in err


def test_a_full_memory_while_measuring_or_loading_names_what_would_fit_there(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    from finetune.backends import BACKENDS

    def full(*given: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    path = write_recipe(val_set_size=0.2, eval_batch_size=4, logging_steps=1)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "evaluate", full)
        code, _, err = finetune(path)
    assert code == TrainingError.exit_code
    assert "full while measuring, at step 0" in err and pasted(err) == {"eval_batch_size": 2}
    with monkeypatch.context() as patched:
        patched.setattr(BACKENDS["transformers"], "load", full)
        code, _, err = finetune(path, f"output_dir={tmp_path / 'other'}")
    assert code == TrainingError.exit_code
    assert "does not suffice to load the model" in err and pasted(err) == {"adapter": "qlora", "load_in_4bit": True}


def no_room(*given: Any, **named: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand more")


@pytest.mark.parametrize(
    ("place", "says", "changed"),
    [
        ("transformers.AutoModelForCausalLM.from_pretrained", "not suffice to load the model", "4-bit"),
        ("transformers.Trainer._move_model_to_device", "not suffice to begin to train", "4-bit"),
        ("torch.save", "full while the checkpoint of step 1 is written", "rows"),
        ("finetune.saving.perform", "not suffice to save what was trained", None),
    ],
    ids=["loading", "beginning", "checkpoint", "saving"],
)
def test_a_full_memory_is_named_wherever_it_happens(
    place: str, says: str, changed: str | None, write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    import peft  # noqa: F401 - before what it takes from the others is another
    import trl  # noqa: F401

    monkeypatch.setattr(place, no_room)
    code, _, err = finetune(write_recipe(max_steps=1, save_steps=1))
    assert code == TrainingError.exit_code
    assert says in err and "Tried to allocate 2.00 GiB" in err and "and more" not in err
    run = tmp_path / "run"
    if changed is None:
        assert f"`--resume` goes on from {run}/checkpoints/checkpoint-1" in err or "is there to go on from" in err
    else:
        both = {"4-bit": {"adapter": "qlora", "load_in_4bit": True}}
        both["rows"] = {"micro_batch_size": 1, "gradient_accumulation_steps": 2}
        assert pasted(err) == both[changed]
    left = [path for path in (run / "checkpoints").glob(".*") if path.exists()] if run.exists() else []
    assert left == [], "half a checkpoint takes room"


def test_a_reader_of_rows_that_the_system_ended_is_named(write_recipe: Any, finetune: Any, monkeypatch: Any) -> None:
    import psutil

    from finetune.watch import Watcher

    def ended(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        for reader in psutil.Process().children():
            reader.kill()

    monkeypatch.setattr(Watcher, "on_step_end", ended)
    code, _, err = finetune(write_recipe(max_steps=20, dataloader_num_workers=1))
    assert code == TrainingError.exit_code
    assert "a process that reads rows was ended in step" in err and pasted(err) == {"dataloader_num_workers": 0}


def test_who_compiles_is_told_before_training_that_the_machine_has_no_compiler(
    write_recipe: Any, finetune: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    path = write_recipe(torch_compile=True, max_steps=1)
    code, _, told = finetune(path)
    assert code == MachineError.exit_code and "torch_compile: true needs a C++ compiler" in told
    path = write_recipe(torch_compile=True, torch_compile_backend="cudagraphs", max_steps=1)
    code, _, told = finetune(path)
    assert code == MachineError.exit_code and "cudagraphs needs a CUDA GPU" in told


def test_a_model_that_cannot_be_compiled_is_named_with_what_to_write() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no such kernel")

    why = r"could not compile the model: .*no such kernel.*torch_compile: false"
    with pytest.raises(TrainingError, match=why), compiling({"torch_compile": True}):
        torch.compile(lambda x: x + 1, backend=broken)(torch.ones(2))
    with pytest.raises(ZeroDivisionError), compiling({"torch_compile": True}):
        1 / 0  # noqa: B018 - not of a compiler: it stays what it is


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_is_saved_under_its_own_names(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    found = []
    for name, compiled in (("plain", {}), ("compiled", {"torch_compile": True, "torch_compile_backend": "aot_eager"})):
        path = write_recipe(
            sample_packing=True, max_steps=3, logging_steps=1, output_dir=str(tmp_path / name), **compiled
        )
        code, _, told = finetune(path)
        assert code == 0, told
        found.append(load_file(tmp_path / name / "adapter" / "adapter_model.safetensors"))
    plain, compiled_ = found
    assert plain.keys() == compiled_.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(compiled_[name], weight, rtol=1e-4, atol=1e-6)


def test_a_training_that_is_done_is_not_lost_by_its_sample_answers(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import stages

    def full(*given: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(stages, "answers", full)
    code, out, err = finetune(write_recipe())
    assert code == 0, err
    assert "warning: the memory is full, so the sample questions are not answered" in out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_learning_rate_far_too_high_is_brought_down_to_one_worth_a_try() -> None:
    assert mending.of_numbers({"learning_rate": 1e9, "adapter": "lora", "warmup_steps": 5, "max_grad_norm": 1}) == {
        "learning_rate": 1e-3
    }
    assert mending.of_numbers({"learning_rate": 2e-4, "warmup_steps": 5, "max_grad_norm": 1}) == {"learning_rate": 2e-5}


def test_each_change_saves_memory_until_nothing_is_left_to_change() -> None:
    keys = {"micro_batch_size": 3, "gradient_accumulation_steps": 4, "adapter": "lora", "sequence_len": 256}
    seen = []
    while changed := mending.of_memory(keys):
        keys |= changed
        seen.append(changed)
    assert seen == [
        {"micro_batch_size": 1, "gradient_accumulation_steps": 12},
        {"gradient_checkpointing": True},
        {"adapter": "qlora", "load_in_4bit": True},
        {"sequence_len": 128},
        {"sequence_len": 64},
    ]


def test_a_checkpoint_for_which_the_disk_is_too_full_costs_none_that_is_whole(
    write_recipe: Any, finetune: Any, small_disk: Path
) -> None:
    run = small_disk / "run"
    path = write_recipe(output_dir=str(run), lora_r=1024, save_steps=1, max_steps=4, sample_prompts=[])
    code, _, err = finetune(path)
    assert code == RunFolderError.exit_code and "is full, after step" in err, err
    assert pasted(err) == {"save_total_limit": 1}
    assert not (run / "checkpoints" / ".writing").exists()
    code, out, err = finetune(path, "--resume", "save_total_limit=1")
    assert code == 0 and "goes on after step" in out, err


def test_sums_have_a_fixed_order_while_it_trains_and_not_after(
    write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import Trainer

    seen = []
    step = Trainer.training_step

    def looking(*given: Any, **named: Any) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(*given, **named)

    monkeypatch.setattr(Trainer, "training_step", looking)
    for name in ("CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC"):
        monkeypatch.setenv(name, "before")  # the library sets them for good
    assert finetune(write_recipe(max_steps=1, full_determinism=True))[0] == 0
    assert set(seen) == {True} and not torch.are_deterministic_algorithms_enabled()

    def without(*given: Any, **named: Any) -> Any:
        raise RuntimeError("kthvalue CUDA does not have a deterministic implementation, but you set\nmore")

    monkeypatch.setattr(Trainer, "training_step", without)
    code, _, err = finetune(write_recipe(max_steps=1, full_determinism=True), f"output_dir={tmp_path / 'other'}")
    assert code == TrainingError.exit_code and "kthvalue CUDA does not have" in err
    assert "write full_determinism: false" in err and not torch.are_deterministic_algorithms_enabled()
