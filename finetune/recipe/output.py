"""Recipe keys of what a run leaves behind: its folder and the sample answers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from finetune.recipe.base import Number, Reaches, Section, Whole


def _no_flag(value: Any) -> Any:
    # For Python true is 1.
    return str(value) if isinstance(value, bool) else value


class GenerationSection(Section):
    sample_prompts: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(examples=[["What is integration?"], ["Hello"]]),
        Reaches("generate"),
    ] = None
    """Questions answered before and after training, side by side in the run folder. Unset: the first questions of the
    validation rows; [] asks none."""
    generation_max_new_tokens: Annotated[Whole, Field(ge=1, examples=[256, 64]), Reaches("generate")] = 128
    """Tokens of an answer at most; an answer normally ends by its stop token before that."""
    generation_temperature: Annotated[Number, Field(ge=0, examples=[0.7, 1.5]), Reaches("generate")] = 0.0
    """0: always the most likely token. Above: sampled, more varied the higher."""
    generation_do_sample: Annotated[
        bool | None, Field(examples=[True, False]), Reaches("generate", needs={"generation_temperature": 1.0})
    ] = None
    """Whether answers are sampled. Unset: where generation_temperature is above 0."""
    generation_top_p: Annotated[
        Number | None, Field(gt=0, le=1, examples=[0.9, 0.95]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among the most likely tokens that together have this probability."""
    generation_top_k: Annotated[
        Whole | None, Field(ge=1, examples=[50, 20]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among this many most likely tokens. Unset: all."""
    generation_min_p: Annotated[
        Number | None, Field(ge=0, le=1, examples=[0.1, 0.05]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among tokens at least this share as likely as the likeliest."""
    generation_repetition_penalty: Annotated[Number, Field(gt=0, le=10, examples=[1.1, 1.3]), Reaches("generate")] = 1.0
    """Above 1: what the question or the answer holds already becomes less likely. 1: nothing changes."""
    generation_stop: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=16)] | None,
        Field(examples=[["Question:"], ["User:", "###"]]),
        Reaches("generate"),
    ] = None
    """Texts before which an answer ends, besides the stop tokens that training found."""
    generation_seed: Annotated[Whole | None, Field(ge=0, le=2**32 - 1, examples=[1, 7]), Reaches("generate")] = None
    """Where the chance of sampled answers begins. Unset: seed."""


class OutputSection(Section):
    recipe_version: Annotated[Literal[1], BeforeValidator(_no_flag), Field(examples=[1]), Reaches()] = 1
    """Version of this language: fixes every default, so that a recipe means the same in years to come."""
    export_to: Annotated[
        list[Literal["safetensors", "gguf", "ollama", "vllm", "tgi"]] | None,
        Field(min_length=1, examples=[["gguf"], ["safetensors", "ollama"]]),
        Reaches("save"),
    ] = None
    """Forms into which the finished run is exported, each with its proof, as `finetune export --to` does. Whether the
    tools are there, and model and tokenizer can be written so, is checked before training."""
    export_quantization: Annotated[
        Literal["f32", "f16", "bf16", "q8_0", "q4_k_m"],
        Field(examples=["q8_0", "f16"]),
        Reaches("save", needs={"export_to": ["gguf"]}),
    ] = "f16"
    """Number format of the file that export_to gguf and ollama write; q4_k_m needs llama.cpp."""
    hub_model_id: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", examples=["me/my-model", "team/other"]),
        Reaches("save"),
    ] = None
    """Repository of the hub (OWNER/NAME) for the finished run. Training publishes nothing: the run says at its end that
    `finetune push RUN_DIR` sends it there, for its owner alone unless --public is written."""
    output_dir: Annotated[str, Field(min_length=1, examples=["./outputs/run", "runs/a"]), Reaches("train", "save")]
    """Folder of the run, relative to the working directory: recipe, plan, metrics, adapter, answers, log."""
