"""What was promised after rendering and is checked before the first step: the trainer's first batch carries the learned
tokens that were prepared, and answers that it generates end where they were taught to. Knows no recipe."""

from collections.abc import Sequence
from typing import Any

from finetune.data.prepared import Prepared
from finetune.errors import TrainingError
from finetune.rendering.lengths import IGNORED

ROWS = 8


def packs_rows(args: Any) -> bool:
    """Whether several documents may lie in one row."""
    return bool(getattr(args, "packing", False) or getattr(args, "padding_free", False))


def rewarding(rewards: Sequence[Any]) -> dict[str, Any]:
    """What a trainer is given besides, if it rewards answers."""
    if not rewards:
        return {}
    return {
        "reward_funcs": [one.reward for one in rewards],
        "reward_processing_classes": [one.model_tokenizer for one in rewards],
    }


def answers_end(model: Any, stop_ids: tuple[int, ...]) -> None:
    """Whoever generates with the model while it is trained stops at the tokens it is taught to stop at."""
    config = getattr(model, "generation_config", None)
    if config is not None:
        config.eos_token_id = list(stop_ids)


def labels_survive(trainer: Any, prepared: Prepared) -> None:
    """TrainingError if learned tokens got lost between the prepared rows and the trainer's first batch."""
    kind = prepared.facts.get("kind", "rows")
    if kind == "rows":
        _imitated(trainer)
    elif kind != "prompt":
        _answered(trainer, kind)


def _answered(trainer: Any, kind: str) -> None:
    """The same for answers that are compared or judged. Of rows that are scored whole, every token counts."""
    dataset = trainer.train_dataset
    rows = [dataset[number] for number in range(min(ROWS, len(dataset)))]
    names = ("completion_ids",) if kind == "judged" else ("chosen_ids", "rejected_ids")
    promised = sum(len(row[name]) for row in rows for name in names)
    batch = trainer.data_collator(rows)
    if "prompt_ids" not in dataset.column_names:
        carried = int(batch["attention_mask"].sum())
    elif "completion_mask" in batch:
        carried = int(batch["completion_mask"].sum())
    else:
        carried = sum(int((batch[f"{side}_labels"] != IGNORED).sum()) for side in ("chosen", "rejected"))
    if carried != promised:
        raise _lost(promised, carried)


def _lost(promised: int, carried: int) -> TrainingError:
    return TrainingError(
        f"{promised} trained tokens were prepared in the first rows, but the trainer's batch carries {carried}: labels "
        "were lost on the way. This is a fault of the program or of an untested library version"
    )


def _imitated(trainer: Any) -> None:
    """Compare the trained tokens of the trainer's first rows with what its collator makes of them; a token at the start
    of a document has nothing before it that could predict it, and does not count.

    TrainingError if labels got lost, or if packed rows come without the positions that keep documents apart."""
    dataset = trainer.train_dataset
    rows = [dataset[number] for number in range(min(8, len(dataset)))]
    columns = [{key: row[key] for key in ("input_ids", "labels", "seq_lengths") if key in row} for row in rows]
    promised = 0
    for row in columns:
        starts = {0}
        for length in row.get("seq_lengths", []):
            starts.add(max(starts) + length)
        promised += sum(label != IGNORED for place, label in enumerate(row["labels"]) if place not in starts)
    batch = trainer.data_collator(columns)
    if "seq_lengths" in columns[0] and "position_ids" not in batch:
        raise TrainingError(
            "packed rows reach the model without positions, so documents would see each other: this backend does not "
            "pack this model. Set sample_packing: false"
        )
    # Laid end to end, what is learned stands beside the labels, and the loss looks at it alone.
    carried = len(batch["targets"]) if "targets" in batch else int((batch["labels"] != IGNORED).sum())
    if "position_ids" not in batch:
        carried -= int((batch["labels"][:, 0] != IGNORED).sum())
    if carried != promised:
        raise _lost(promised, carried)
