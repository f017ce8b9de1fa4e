"""What a machine has is read without guessing, and what it lacks for a recipe is said with the way out."""

from finetune.blockers import blockers
from finetune.machine import Gpu, Machine, assumed, gpus_of, probe
from finetune.precision import choose_precision
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve

OLD_GPU = Machine((Gpu("Tesla T4", 15.0, 7.5),), assumed().packages)


def recipe(**values: object) -> Recipe:
    return Recipe.model_validate({"base_model": "m", "datasets": [{"path": "d"}], "output_dir": "o"} | values)


def test_gpus_are_read_from_nvidia_smi_also_where_memory_is_shared() -> None:
    answer = "NVIDIA H100 80GB HBM3, 81559, 9.0\nNVIDIA GB10, [N/A], 12.1\n"
    assert gpus_of(answer) == [Gpu("NVIDIA H100 80GB HBM3", 79.6, 9.0), Gpu("NVIDIA GB10", 0.0, 12.1)]


def test_this_machine_is_probed_without_torch() -> None:
    machine = probe()
    assert machine.cores >= 1 and machine.has("torch") and machine.reasons["gpu"]


def test_number_types_follow_the_gpu() -> None:
    assert choose_precision("auto", "auto", assumed()).dtype == "bfloat16"
    assert choose_precision("auto", "auto", OLD_GPU).fp16
    assert choose_precision("auto", "auto", Machine()).dtype == "float32"
    assert choose_precision(False, True, assumed(), all_weights=True).dtype == "float32"


def test_auto_says_which_backend_it_took_and_why() -> None:
    cases = [
        (assumed(), "unsloth", "refuses nothing"),
        (Machine(), "transformers", "no CUDA GPU"),
        (Machine(assumed().gpus, {}), "transformers", "not installed"),
    ]
    for machine, backend, why in cases:
        plan = resolve(recipe(), machine)
        assert plan.backend == backend and why in plan.notes[0]
    kwargs = recipe(gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True})
    assert "unsloth cannot honour `gradient_checkpointing_kwargs`" in resolve(kwargs, assumed()).notes[0]
    assert "because packed rows train several times faster" in resolve(recipe(sample_packing=True), assumed()).notes[0]


def test_several_gpus_are_not_used_silently() -> None:
    two = Machine(assumed().gpus * 2, assumed().packages)
    assert any("one GPU is used, the first of 2" in note for note in resolve(recipe(), two).notes)


def test_what_an_old_gpu_cannot_do_is_said_with_the_way_out() -> None:
    def stops(**values: object) -> str:
        wanted = recipe(**values)
        precision = choose_precision(wanted.bf16, wanted.fp16, OLD_GPU)
        return " ".join(blockers(wanted, "transformers", precision, OLD_GPU))

    assert "write bf16: auto" in stops(bf16=True)
    assert "write tf32: false" in stops(tf32=True)
    assert stops(fp16=True, adapter="lora") == stops(fp16=True, adapter="qlora", load_in_4bit=True) == ""
