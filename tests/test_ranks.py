"""Several processes of one run come to what one comes to, end together, and say with one voice why."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from finetune import ranks
from finetune.commands.checking import gpu_count, planned_machine, resolved
from finetune.errors import MachineError, RecipeError, TrainingError, UsageError
from finetune.jobs import gpus_of
from finetune.launching import launch
from finetune.machine import Gpu, Machine, assumed
from finetune.ranks import Rank
from finetune.recipe.load import load_recipe
from tests import crashing
from tests.crashing import metrics

SHORT: dict[str, Any] = {
    "max_steps": None,
    "num_epochs": 1,
    "gradient_accumulation_steps": 2,
    "micro_batch_size": 4,
    "val_set_size": 0.2,
    "sample_prompts": [],
    "generation_max_new_tokens": 1,
}
"""6 steps of 8 rows; the last has fewer."""


def ranked(number: int, of: int, port: int) -> dict[str, str]:
    """The variables that a launcher gives a process."""
    named = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": of, "LOCAL_WORLD_SIZE": of, "MASTER_PORT": port}
    return {name: str(value) for name, value in named.items()} | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


def team(arguments: Sequence[object], of: int = 2, before: Callable[[], None] = lambda: None) -> list[int]:
    """Process numbers of forks of this process that run the command line together."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    def begin(number: int) -> Callable[[], None]:
        def prepare() -> None:
            torch.set_num_threads(1)  # a fork has no threads of its parent's
            os.environ.update(ranked(number, of, port))
            before()

        return prepare

    return [crashing.fork([str(one) for one in arguments], begin(number)) for number in range(of)]


def codes(processes: Sequence[int]) -> list[int | None]:
    found = [crashing.ended(process, 100) for process in processes]
    for process, code in zip(processes, found, strict=True):
        if code is None:
            crashing.kill(process)
    return found


def figures(run: Path) -> dict[tuple[int, str], float]:
    return {
        (line["step"], name): line[name]
        for line in metrics(run)
        for name in ("loss", "grad_norm", "eval_loss")
        if name in line
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(next(run.glob("*/*model.safetensors")))
    return found


def same(one: Path, other: Path) -> None:
    assert figures(one) == pytest.approx(figures(other), rel=2e-5)
    for name, weight in weights(one).items():
        torch.testing.assert_close(weight, weights(other)[name], rtol=1e-3, atol=2e-6, msg=name)


def after_step(run: Path, step: int, act: Callable[[], None]) -> None:
    for _ in range(20000):
        text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").is_file() else ""
        if f'"step": {step},' in text:
            return act()
        time.sleep(0.002)
    raise AssertionError("the step never came")


def test_two_processes_stop_together_and_one_goes_on_as_if_it_had_been_alone(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CRASHING_LOG", str(log))
    path, two, three = write_recipe(**(SHORT | {"num_epochs": 2})), tmp_path / "two", tmp_path / "three"
    assert finetune(path, f"output_dir={tmp_path / 'one'}")[0] == 0  # first, so that the forks need to import nothing
    running = team([path, f"output_dir={two}", "micro_batch_size=2"])
    # One process alone is told to stop, in the second epoch; all of them do, after the same step.
    after_step(two, 6, lambda: os.kill(running[1], signal.SIGTERM))
    assert codes(running) == [143, 143], log.read_text()
    said = (two / "run.log").read_text()
    assert said.count("before training") == said.count("stopped by SIGTERM") == 1
    assert log.read_text().count("stopping after this step") == 0, (
        "the process that was told is not the one that speaks"
    )
    assert "4 x 2 x 2 processes" not in said and "2 x gradient_accumulation_steps 2 x 2 processes = 8" in said
    saved = list((two / "checkpoints").iterdir())
    assert len(saved) == 1
    one_alone = {key: value for key, value in figures(tmp_path / "one").items() if key in figures(two)}
    assert figures(two) == pytest.approx(one_alone, rel=2e-5)
    again = [path, f"output_dir={three}", "micro_batch_size=2", f"resume_from_checkpoint={saved[0]}"]
    assert codes(team(again)) == [0, 0], log.read_text()
    same(three, tmp_path / "one")
    code, out, err = finetune(path, f"output_dir={two}", "--resume")
    assert code == 0, err
    assert "one process goes on with what 2 wrote" in out
    same(two, tmp_path / "one")


def test_a_machine_whose_files_are_not_as_locked_keeps_the_others_from_training(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.locking import digests

    log = tmp_path / "log"
    monkeypatch.setenv("CRASHING_LOG", str(log))
    path = write_recipe(**SHORT)
    assert finetune("lock", path)[0] == 0

    def machine_of_its_own() -> None:
        os.environ.update(LOCAL_WORLD_SIZE="1", LOCAL_RANK="0")
        if os.environ["RANK"] == "1":
            digests.kept = lambda *given: "0" * 64

    began = time.monotonic()
    assert codes(team([path, "--frozen"], before=machine_of_its_own)) == [TrainingError.exit_code, 10]
    said = log.read_text()
    assert said.count("datasets.0: ") == 1 and "not as locked" in said and "another process" not in said, said
    assert not (tmp_path / "run").exists() and time.monotonic() - began < 60


def test_other_rows_in_a_step_are_refused_with_what_keeps_them(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    from finetune.checkpoints import Checkpoint
    from finetune.grouping import rows_in_step

    keys = {"micro_batch_size": 2, "gradient_accumulation_steps": 2}
    found = Checkpoint(tmp_path, 3, {"recipe": keys, "processes": 4})
    assert list(rows_in_step(found, keys | {"micro_batch_size": 8})) == []
    (line,) = rows_in_step(found, keys)
    assert "2 x 2 x 4 = 16 -> 2 x 2 x 1 = 4; gradient_accumulation_steps=8 keeps them" in line


PARTS = ("FlatSFTTrainer", "SharingSFTTrainer")


def together(work: Callable[[], Any], of: int = 2) -> list[Any]:
    """What `work` returns in each of several forks of this process that are one group."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    pipes, children = [], []
    for number in range(of):
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                torch.set_num_threads(1)
                os.environ.update(ranked(number, of, port))
                ranks.connect("gloo", 60)
                os.write(writes, json.dumps(work()).encode())
                code = 0
            except BaseException:  # noqa: BLE001 - it must not go on in the copy of the tests
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writes)
        pipes.append(reads)
        children.append(child)
    assert codes(children) == [0] * of
    return [json.loads(os.read(pipe, 1 << 20)) for pipe in pipes]


def test_processes_tell_each_other_what_they_know() -> None:
    def work() -> Any:
        mine = ranks.this_rank()
        return [ranks.most(mine.number), ranks.totals([1.5, mine.number]), ranks.gathered({"i": 0.1 + mine.number})]

    assert together(work) == [[1, [3.0, 1.0], [{"i": 0.1}, {"i": 1.1}]]] * 2
    assert (ranks.most(3), ranks.totals([2.0]), ranks.gathered("x")) == (3, [2.0], ["x"])


@pytest.mark.parametrize("flat", [True, False], ids=["laid end to end", "padded"])
def test_each_step_learns_from_the_same_rows_however_they_are_shared(
    flat: bool, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """18 rows of ragged length, 4 a step: the fifth step has two, of which the second process gets none."""
    from tests import tiny
    from tests.test_flat_batches import dataset

    folder = tiny.save_model(tmp_path_factory.mktemp("model"))

    def trained(size: int) -> Any:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import SFTConfig

        from finetune.kernels.sharing import SharingSFTTrainer
        from finetune.kernels.trainer import FlatSFTConfig, FlatSFTTrainer

        args = (FlatSFTConfig if flat else SFTConfig)(
            output_dir=str(tmp_path),
            max_steps=7,
            per_device_train_batch_size=size,
            logging_steps=1,
            learning_rate=1e-3,
            optim="adamw_torch",
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            ddp_find_unused_parameters=False,
            disable_tqdm=True,
            seed=1,
            data_seed=1,
        )
        given = {"model": AutoModelForCausalLM.from_pretrained(folder), "train_dataset": dataset(18), "args": args}
        given["processing_class"] = AutoTokenizer.from_pretrained(folder)
        trainer = (FlatSFTTrainer if flat else SharingSFTTrainer)(**given)
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        return [figure for entry in logs for figure in (entry["loss"], entry["grad_norm"])]

    one = trained(4)
    for found in together(lambda: trained(2)):
        assert found == pytest.approx(one, rel=2e-4)


SCRIPT = "import os, signal, sys, time; rank = int(os.environ['RANK']); "


def starting(does: str) -> Any:
    def start(arguments: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-S", "-c", SCRIPT + does], env={**os.environ, **variables})

    return start


def test_a_process_that_is_killed_ends_the_others_and_is_named() -> None:
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"process 2 of 2 \(rank 1\) was ended by SIGKILL.*memory was full"):
        launch([], 2, starting("rank == 1 and os.kill(os.getpid(), signal.SIGKILL); time.sleep(1.5); sys.exit(8)"))
    assert time.monotonic() - began < 14, "the others were not waited for"
    assert launch([], 2, starting("rank == 0 and sys.exit(4); time.sleep(60)")) == 4, "the first said why already"
    assert launch([], 3, starting("sys.exit(int(os.environ['WORLD_SIZE']) - 3)")) == 0


def test_a_signal_is_handed_on_once_to_each_process(tmp_path: Path) -> None:
    does = (
        "seen = []; signal.signal(signal.SIGTERM, lambda *_: seen.append(1)); "
        f"there = {str(tmp_path)!r}; open(f'{{there}}/{{rank}}', 'w').close()\n"
        "while len(os.listdir(there)) < 2: time.sleep(0.01)\n"
        "rank == 0 and os.kill(os.getppid(), signal.SIGTERM)\n"
        "while not seen: time.sleep(0.01)\n"
        "time.sleep(0.3); sys.exit(140 + len(seen))"
    )
    before = signal.getsignal(signal.SIGTERM)
    assert launch([], 2, starting(does)) == 141
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, Rank()),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, Rank()),
        ({"WORLD_SIZE": "16", "RANK": "9", "LOCAL_RANK": "1"}, Rank(9, 16, 1)),
    ],
)
def test_a_process_knows_its_number(variables: dict[str, str], found: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.this_rank() == found


def test_launchers_that_make_no_sense_are_refused(
    write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe()
    with pytest.raises(UsageError, match="--nproc x"):
        gpu_count("x")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    code, _, err = finetune(path)
    assert code == MachineError.exit_code and "write fsdp_version: 2 in the recipe" in err
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "5")
    with pytest.raises(MachineError, match="RANK=5"):
        ranks.this_rank()


def planned(path: Path, *overrides: str, processes: int = 2, machine: Machine | None = None) -> Any:
    return resolved(
        load_recipe(path, overrides).recipe and load_recipe(path, overrides),
        machine or planned_machine("80", processes),
    )


def test_a_plan_says_how_many_rows_a_step_has(write_recipe: Any, finetune: Any) -> None:
    path = write_recipe()
    code, out, err = finetune("plan", path, "--nproc", "4", "--gpu", "80", "micro_batch_size=3")
    assert code == 0, err
    assert "micro_batch_size 3 x gradient_accumulation_steps 1 x 4 processes = 12" in out
    alone = planned(path, machine=Machine((Gpu("a", 80, 9.0),) * 4, assumed().packages))
    assert any("--nproc 4 trains on all of them" in note for note in alone.notes)


QLORA = ("adapter=qlora", "load_in_4bit=true")


@pytest.mark.parametrize(
    ("overrides", "processes", "says"),
    [
        (["fsdp_version=2"], 1, "add --nproc 2"),
        (["backend=unsloth"], 2, "backend: unsloth trains in one process"),
        (["device_map=auto"], 2, "each of several has its own GPU"),
        (["fsdp_version=2", "fp16=true", "bf16=false"], 2, "fp16 does not go with fsdp_version: 2"),
        (
            [
                "fsdp_version=2",
                "adapter=qlora",
                "load_in_4bit=true",
                "bnb_config_kwargs.bnb_4bit_quant_storage=float32",
            ],
            2,
            "must be the type that is computed in with fsdp_version: 2, here bfloat16",
        ),
    ],
)
def test_what_several_processes_cannot_do_stops_before_they_start(
    overrides: list[str], processes: int, says: str, write_recipe: Any
) -> None:
    assert says in "\n".join(planned(write_recipe(), *overrides, processes=processes).blockers)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("fsdp_config: {offload_params: true}", "counts only with `fsdp_version: 2`"),
        ("fsdp_version: 2\nload_in_8bit: true", "8-bit weights cannot be cut into parts"),
        (
            "fsdp_version: 2\nload_in_4bit: true\nadapter: qlora\n"
            "bnb_config_kwargs: {bnb_4bit_quant_storage: bfloat16, bnb_4bit_compute_dtype: float16}",
            "must be one type",
        ),
        ("fsdp_version: 2\noptimizer: adamw_8bit", "`optimizer: adamw_8bit` does not go with `fsdp_version: 2`"),
        ("fsdp_version: 2\nrl: dpo", "shares weights out for fine-tuning alone"),
        ("fsdp_version: 2\nfsdp_config: {auto_wrap_policy: SIZE_BASED_WRAP}", "layers are gathered one at a time"),
        (
            "fsdp_version: 2\ngradient_checkpointing: true\nfsdp_config: {activation_checkpointing: true}",
            "do the same. Keep one",
        ),
        ("deepspeed_config: zero3.json", "Write deepspeed: FILE.json"),
    ],
)
def test_keys_of_several_gpus_are_judged_with_the_recipe(lines: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"base_model: m\ndatasets: [{{path: org/d}}]\noutput_dir: o\n{lines}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert says in str(caught.value)


def commands(folder: Path, **does: str) -> str:
    """A PATH on which these commands come first."""
    folder.mkdir(exist_ok=True)
    for name, script in does.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def job(write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The file that `finetune launch` writes for two machines with four GPUs each."""
    monkeypatch.chdir(tmp_path)

    def write(to: str) -> str:
        words = ["launch", write_recipe(), "learning_rate=2e-3", "--dry-run", "--to", to, "--nodes", "2"]
        code, out, err = finetune(*words, "--gpus", "H100:4")
        assert code == 0, err
        text = (tmp_path / out.split(":")[0]).read_text()
        assert "x 8 processes = 16" in text
        return text

    return write


ARGUMENTS = 'printf "%s\\n" "$@"'
SLURM = {"SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "h", "SLURM_CPUS_PER_TASK": "6"}
TASK = "export SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1; shift; "


def test_a_task_of_skypilot_is_one_that_torchrun_takes(job: Any, tmp_path: Path) -> None:
    from torch.distributed.run import get_args_parser

    task = yaml.safe_load(job("skypilot"))
    assert (task["num_nodes"], task["resources"]) == (2, {"accelerators": "H100:4"})
    here = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1"}
    here["PATH"] = commands(tmp_path / "bin", torchrun=ARGUMENTS)
    done = subprocess.run(
        ["bash", "-c", task["run"]], capture_output=True, text=True, env=os.environ | here, check=True
    )
    given = get_args_parser().parse_args(done.stdout.split("\n")[:-1])
    assert (given.nnodes, given.nproc_per_node, given.module, given.training_script) == ("2", "4", True, "finetune")
    assert given.training_script_args == ["train", str(tmp_path / "recipe.yaml"), "learning_rate=2e-3", "--resume"]
    assert (given.node_rank, given.master_addr) == (1, "10.0.0.1")


def test_each_task_of_a_slurm_job_is_a_process_that_knows_its_number(job: Any, tmp_path: Path) -> None:
    says = "env | grep -E '^(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|MASTER_.*|OMP_.*|SRUN_.*)=' | sort"
    path = commands(
        tmp_path / "bin", srun=TASK + '"$@"', scontrol="echo host1; echo host2", finetune=f"{ARGUMENTS}; {says}"
    )
    here = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | SLURM | {"PATH": path}
    done = subprocess.run(["bash", "-c", job("slurm")], capture_output=True, text=True, env=here, check=True)
    assert done.stdout.splitlines() == [
        *("train", str(tmp_path / "recipe.yaml"), "learning_rate=2e-3", "--resume"),
        *("LOCAL_RANK=1", "LOCAL_WORLD_SIZE=4", "MASTER_ADDR=host1", "MASTER_PORT=20007", "OMP_NUM_THREADS=6"),
        *("RANK=5", "SRUN_CPUS_PER_TASK=6", "WORLD_SIZE=8"),
    ]
    done = subprocess.run(
        ["/bin/bash", "-c", job("slurm")], capture_output=True, text=True, env=SLURM | {"PATH": "/bin"}, check=False
    )
    assert done.returncode == MachineError.exit_code and "activate its environment" in done.stderr


@pytest.mark.parametrize(
    ("signalled", "code", "saved", "again"),
    [(True, 143, True, True), (True, 143, False, False), (False, 143, True, False), (True, 8, True, False)],
    ids=["its time is up", "nothing saved", "one process was ended", "it failed"],
)
def test_a_slurm_job_goes_on_in_another_turn_if_its_time_was_up_and_all_is_saved(
    signalled: bool, code: int, saved: bool, again: bool, job: Any, tmp_path: Path
) -> None:
    if saved:
        (tmp_path / "run" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    told = "kill -USR1 $PPID; while [ ! -e told ]; do sleep 0.05; done; " if signalled else ""
    path = commands(
        tmp_path / "bin",
        srun=f"{told}exit {code}",
        scancel='echo "$@" > told',
        scontrol='[ "$1" = requeue ] && echo "$@" > again || echo host1',
        finetune="exit 1",
    )
    done = subprocess.run(["bash", "-c", job("slurm")], env=os.environ | SLURM | {"PATH": path}, check=False)
    assert done.returncode == code
    assert (tmp_path / "told").exists() == signalled and (tmp_path / "again").exists() == again


def test_jobs_that_cannot_be_written_are_refused(write_recipe: Any, finetune: Any) -> None:
    assert gpus_of("8") == ("", 8)
    words = ["launch", write_recipe(), "--to", "skypilot", "--nodes", "2", "--gpus"]
    for wrong in (["many", "--dry-run"], ["4", "--dry-run"], ["H100:4"]):
        code, _, err = finetune(*words, *wrong)
        assert code == UsageError.exit_code, err


def on_gloo() -> None:
    """accelerate shares models out on GPUs alone; its processes of gloo are taken for such here."""
    import accelerate.state
    from accelerate.utils import DistributedType

    from finetune import several

    begin = accelerate.state.PartialState.__init__

    def as_gpus(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    accelerate.state.PartialState.__init__ = as_gpus
    several._sharded = lambda *given: iter(())  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "lora"},
        {"adapter": None, "learning_rate": 1e-4, "fsdp_config": {"activation_checkpointing": True}},
        {"adapter": "lora", "sample_packing": True, "sequence_len": 128, "tokens_per_pass": 128},
        {"adapter": "lora", "fsdp_config": {"reshard_after_forward": False}, "gradient_checkpointing": True},
        {"adapter": "lora", "fsdp_config": {"cpu_ram_efficient_loading": True}},
        {"adapter": "lora", "attn_implementation": "eager", "batch_flattening": False},
        {"adapter": "qlora", "load_in_4bit": True, "bnb_config_kwargs": {"bnb_4bit_quant_storage": "float32"}},
    ],
    ids=["lora", "whole model", "packed", "zero 2", "loaded once", "padded", "4-bit"],
)
def test_a_model_in_parts_learns_what_a_whole_one_learns_and_goes_on_as_one(
    changes: dict[str, Any], write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CRASHING_LOG", str(log))
    whole = {key: value for key, value in changes.items() if key != "fsdp_config"}
    path = write_recipe(**(SHORT | whole | {"save_steps": 3}))
    assert finetune(path, f"output_dir={tmp_path / 'one'}")[0] == 0
    path = write_recipe(**(SHORT | changes | {"save_steps": 3, "micro_batch_size": 2, "fsdp_version": 2}))
    found = codes(team([path, f"output_dir={tmp_path / 'two'}"], before=on_gloo))
    assert found == [0, 0], log.read_text()[-5000:]
    same(tmp_path / "two", tmp_path / "one")
    path = write_recipe(**(SHORT | whole | {"save_steps": 3}))
    three = tmp_path / "two" / "checkpoints" / "checkpoint-3"
    assert finetune(path, f"output_dir={tmp_path / 'three'}", f"resume_from_checkpoint={three}")[0] == 0
    same(tmp_path / "three", tmp_path / "one")
    path = write_recipe(**(SHORT | changes | {"save_steps": 3, "micro_batch_size": 2, "fsdp_version": 2}))
    back = tmp_path / "one" / "checkpoints" / "checkpoint-3"
    again = team([path, f"output_dir={tmp_path / 'four'}", f"resume_from_checkpoint={back}"], before=on_gloo)
    assert codes(again) == [0, 0], log.read_text()[-5000:]
    same(tmp_path / "four", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["nproc", "torchrun"])
def test_launchers_come_to_the_same(launcher: str, write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(**SHORT)
    assert finetune(path, f"output_dir={tmp_path / 'one'}")[0] == 0
    rest = [str(path), f"output_dir={tmp_path / 'two'}", "micro_batch_size=2"]
    if launcher == "nproc":
        command = [sys.executable, "-m", "finetune", *rest, "--nproc", "2"]
    else:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "finetune",
        ]
        command += rest
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 1/6") == 1
    same(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_a_killed_process_ends_a_training_with_one_message(write_recipe: Any, tmp_path: Path) -> None:
    import psutil

    path, run = write_recipe(**(SHORT | {"num_epochs": 60, "save_steps": 2, "save_total_limit": 2})), tmp_path / "two"
    command = [sys.executable, "-m", "finetune", str(path), f"output_dir={run}", "--nproc", "2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    second = [one for one in psutil.Process(running.pid).children() if one.environ().get("RANK") == "1"] or None
    for _ in range(200):
        second = [one for one in psutil.Process(running.pid).children() if one.environ().get("RANK") == "1"]
        if second:
            break
        time.sleep(0.1)
    assert second
    after_step(run, 5, second[0].kill)
    _, said = running.communicate(timeout=60)
    assert running.returncode == TrainingError.exit_code
    assert said.count("error:") == 1 and "rank 1) was ended by SIGKILL" in said and "Traceback" not in said
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert sorted(path.name for path in (run / "checkpoints").glob("checkpoint-*"))
