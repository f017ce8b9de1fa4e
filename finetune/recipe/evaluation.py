"""Recipe keys of what is measured while training: validation loss, scores of generated answers, sample answers, and
what the best checkpoint is best at."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from finetune.recipe.base import Number, Reaches, Section, Steps, Whole
from finetune.recipe.measures import FIGURES, bare

_EVAL = {"val_set_size": 0.1}
_BEST = _EVAL | {"save_strategy": "epoch", "eval_strategy": "epoch"}
_ANSWERS = _EVAL | {"do_causal_lm_eval": True}
_TABLE = _EVAL | {"eval_table_size": 5}
_SAMPLES = _EVAL | {"generate_samples": True}
Metric = Literal[
    "perplexity",
    "exact_match",
    "token_f1",
    "rouge",
    "sacrebleu",
    "chrf",
    "ter",
    "accuracy",
    "precision",
    "recall",
    "f1",
]


def _known_metric(value: Any) -> Any:
    if value == "comet":
        raise ValueError("another metric: comet is a model of its own, which would have to be downloaded")
    return value


def _known_figure(value: Any) -> Any:
    if isinstance(value, str) and bare(value) not in FIGURES:
        raise ValueError(f"a figure that is measured: {', '.join(FIGURES)}, with or without eval_ before it")
    return value


_FIGURE = "^(eval_)?(" + "|".join(FIGURES) + ")$"


class EvaluationSection(Section):
    eval_strategy: Annotated[
        Literal["epoch", "steps", "no"] | None, Field(examples=["epoch", "no"]), Reaches("train", needs=_EVAL)
    ] = None
    """When the validation rows are measured. Unset: as eval_steps or evals_per_epoch say, else each epoch; always
    at the end where there is validation data."""
    eval_steps: Annotated[Steps | None, Field(ge=0, examples=[50, 0.1]), Reaches("train", needs=_EVAL)] = None
    """Steps between two measurements; below 1, a share of all training steps."""
    evals_per_epoch: Annotated[Whole | None, Field(ge=0, examples=[1, 4]), Reaches("train", needs=_EVAL)] = None
    """Measurements per epoch."""
    eval_batch_size: Annotated[Whole | None, Field(ge=1, examples=[8, 4]), Reaches("train", needs=_EVAL)] = None
    """Rows in one forward pass of a measurement. Unset: micro_batch_size."""
    eval_sample_packing: Annotated[
        bool | None,
        Field(examples=[True, False]),
        Reaches("format", unsloth=("format", "train"), needs=_EVAL | {"sample_packing": True}),
    ] = None
    """Pack validation rows too. Unset: as sample_packing."""
    do_causal_lm_eval: Annotated[
        bool | None, Field(examples=[True, False]), Reaches("train", needs=_EVAL | {"eval_strategy": "epoch"})
    ] = None
    """At each measurement, have the model answer the validation rows, and score the answers."""
    eval_causal_lm_metrics: Annotated[
        Annotated[list[Annotated[Metric, BeforeValidator(_known_metric)]], Field(min_length=1)] | None,
        Field(examples=[["exact_match", "rouge"], ["sacrebleu", "chrf", "ter"]]),
        Reaches("train", needs=_ANSWERS),
    ] = None
    """What the answers are scored by. Unset: sacrebleu, ter, chrf and perplexity."""
    eval_labels: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=2)] | None,
        Field(examples=[["yes", "no"], ["good", "bad", "mixed"]]),
        Reaches("train", needs=_ANSWERS | {"eval_causal_lm_metrics": ["accuracy", "f1"]}),
    ] = None
    """The answers there are, for accuracy, precision, recall and f1. Unset: those that the validation rows hold."""
    eval_max_new_tokens: Annotated[Whole, Field(ge=1, examples=[32, 64]), Reaches("train", needs=_ANSWERS)] = 128
    """Tokens of an answer that is scored, at most."""
    eval_generation_rows: Annotated[Whole | None, Field(ge=1, examples=[50, 100]), Reaches("train", needs=_ANSWERS)] = (
        None
    )
    """Answers of the validation rows, from the first, that are generated and scored. Unset: all."""
    eval_table_size: Annotated[Whole, Field(ge=0, examples=[5, 10]), Reaches("train", needs=_EVAL)] = 0
    """Generated answers that each measurement writes beside the expected ones, to eval_answers.jsonl."""
    generation_prompt_ratio: Annotated[
        Number, Field(gt=0, lt=1, examples=[0.25, 0.75]), Reaches("train", needs=_TABLE)
    ] = 0.5
    """Of a text that is learned whole, the share that the model is given to go on from."""
    generate_samples: Annotated[bool | None, Field(examples=[True, False]), Reaches("train", needs=_EVAL)] = None
    """Answer the sample questions while training too, at each measurement, into samples.jsonl."""
    num_generation_samples: Annotated[Whole, Field(ge=1, le=16, examples=[1, 5]), Reaches("train", needs=_SAMPLES)] = 3
    """How many of the sample questions."""
    sample_steps: Annotated[Whole | None, Field(ge=1, examples=[20, 50]), Reaches("train", needs=_SAMPLES)] = None
    """Answer them every so many steps instead of at each measurement."""
    load_best_model_at_end: Annotated[bool | None, Field(examples=[True, False]), Reaches("train", needs=_BEST)] = None
    """Save the weights of the best checkpoint instead of the last. Unset: where early_stopping_patience is set and
    checkpoints are written when validation loss is measured."""
    metric_for_best_model: Annotated[
        Annotated[str, Field(pattern=_FIGURE), BeforeValidator(_known_figure)] | None,
        Field(examples=["eval_loss", "perplexity"]),
        Reaches("train", needs=_BEST | {"load_best_model_at_end": True}),
    ] = None
    """The figure by which the best checkpoint is chosen and a run ends early. Unset: eval_loss."""
    greater_is_better: Annotated[
        bool | None,
        Field(examples=[False, True]),
        Reaches("train", needs=_BEST | {"load_best_model_at_end": True}),
    ] = None
    """Whether the best is the greatest. Unset: as that figure has it."""
    early_stopping_patience: Annotated[Whole | None, Field(ge=1, examples=[3, 5]), Reaches("train", needs=_BEST)] = None
    """End the run when metric_for_best_model has not improved for so many measurements."""
