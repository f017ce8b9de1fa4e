"""What the processes of one run have in common beside their group: the rows, which the first prepares, and what the run
goes on from. Trains nothing."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune import checkpoints, ranks, stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data.prepared import Prepared
from finetune.errors import DataError, RunFolderError
from finetune.going import Going
from finetune.plan import Plan
from finetune.rows_known import data_facts
from finetune.rundir import RunDir


@contextmanager
def scratch() -> Iterator[RunDir]:
    """A folder for what another process than the first would write; nobody reads it."""
    with tempfile.TemporaryDirectory(prefix="finetune-rank-") as folder:
        yield RunDir(Path(folder))


def let_begin(data: stages.Formatted, going: Going, run: Path) -> None:
    """From here on the other processes do what the first does."""
    ranks.tell(
        {
            "prepared": str(data.prepared.folder.absolute()),
            "data": going.facts["data"],
            "run": str(run.absolute()),
            "checkpoint": str(going.checkpoint.path.absolute()) if going.checkpoint else None,
            "changed": list(going.changed),
        }
    )


def rows_of_first(plan: Plan, said: Mapping[str, Any]) -> stages.Formatted:
    """The rows that the first process prepared, memory-mapped. On another machine, which does not see them, they are
    prepared anew. DataError if they come to something else there."""
    try:
        return stages.format_rows(plan, Prepared.read(Path(said["prepared"]), again=True))
    except OSError:
        tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
        data = stages.format_rows(plan, stages.prepare(plan, stages.open_sources(plan), tokenizer))
    facts = data_facts({"train": data.train, "validation": data.validation})
    if facts != said["data"]:
        raise DataError(
            "the rows that this machine prepared are not those of the first one: give all machines the same files, or "
            "one folder that they share, with dataset_prepared_path"
        )
    return data


def going_of_first(said: Mapping[str, Any], keys: Mapping[str, Any]) -> Going:
    """RunFolderError if this machine does not see the checkpoint."""
    run = Path(said["run"])
    if not run.is_dir():
        raise RunFolderError(f"this machine does not see {run}: output_dir must be a folder that all machines share")
    checkpoint = checkpoints.whole(Path(said["checkpoint"])) if said["checkpoint"] else None
    return Going(checkpoint, tuple(said["changed"]), {"recipe": dict(keys)}, run)


def join(plan: Plan) -> None:
    """Make the processes a group, as the plan has it."""
    config = next(call for call in plan.stage("train") if "ddp_timeout" in call.arguments)
    cpu = config.arguments["use_cpu"]
    ranks.connect("gloo" if cpu else "cuda:nccl,cpu:gloo", config.arguments["ddp_timeout"])
    if ranks.this_rank().of > 1 and not cpu:
        import torch

        torch.cuda.set_device(ranks.this_rank().local)
