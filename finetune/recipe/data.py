"""Recipe keys of the data: sources, their format and roles, the template, labels, lengths, validation rows."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Whole


class MessageProperties(Section):
    role: Annotated[str, Field(min_length=1, examples=["from", "speaker"]), Reaches("format")] = "role"
    """Name of the field that says who speaks."""
    content: Annotated[str, Field(min_length=1, examples=["value", "text"]), Reaches("format")] = "content"
    """Name of the field that holds the message."""


_CHAT = {"type": "chat_template"}


class DatasetEntry(Section):
    path: Annotated[str, Field(min_length=1, examples=["data.jsonl", "org/name"]), Reaches("format")]
    """Local .jsonl, .json, .csv, .parquet file or hub id. A relative path is looked up beside the recipe, then in the
    working directory."""
    type: Annotated[
        Literal["chat_template", "alpaca", "completion"] | None,
        Field(examples=["chat_template", "alpaca"]),
        Reaches("format"),
    ] = None
    """Form of a row: `chat_template` (a list of messages), `alpaca` (instruction, input, output) or `completion` (plain
    text, all of it learned). Unset: detected from the columns of the first row."""
    split: Annotated[str, Field(min_length=1, examples=["train", "validation"]), Reaches("format")] = "train"
    """Split of a hub dataset; a local file is one split."""
    name: Annotated[str | None, Field(min_length=1, examples=["en", "default"]), Reaches("format")] = None
    """Configuration of a hub dataset."""
    revision: Annotated[str | None, Field(min_length=1, examples=["main", "v2"]), Reaches("format")] = None
    """Branch, tag or commit of a hub dataset."""
    field: Annotated[
        str | None, Field(min_length=1, examples=["text", "content"]), Reaches("format", needs={"type": "completion"})
    ] = None
    """Column with the text of `type: completion`. Unset: `text`."""
    field_messages: Annotated[
        str | None, Field(min_length=1, examples=["conversations", "messages"]), Reaches("format", needs=_CHAT)
    ] = None
    """Column with the list of messages. Unset: `messages`, or `conversations` where only that is there."""
    message_property_mappings: Annotated[
        MessageProperties | None,
        Field(examples=[{"role": "from", "content": "value"}, {"role": "speaker", "content": "text"}]),
        Reaches("format", needs=_CHAT),
    ] = None
    """Names of a message's role and content fields. Unset: role/content, or from/value where only those are there."""
    roles: Annotated[
        dict[Literal["system", "user", "assistant"], list[str] | str] | None,
        Field(examples=[{"user": ["human"], "assistant": ["gpt"]}, {"user": ["me"], "assistant": ["bot"]}]),
        Reaches("format", needs=_CHAT),
    ] = None
    """Our role -> the names the data uses for it. Adds to: user = human, user; assistant = gpt, assistant, model;
    system = system."""


Datasets = Annotated[list[DatasetEntry], Field(min_length=1)]
_PATHS = [[{"path": "data.jsonl"}], [{"path": "other.jsonl"}]]


class DataSection(Section):
    datasets: Annotated[Datasets, Field(examples=_PATHS), Reaches("format")]
    """Training data; several sources are joined in order and shuffled by the trainer."""
    test_datasets: Annotated[Datasets | None, Field(examples=_PATHS), Reaches("format", "train")] = None
    """Validation data in files of its own, instead of val_set_size."""
    val_set_size: Annotated[Number, Field(ge=0, examples=[0.05, 100]), Reaches("format", "train")] = 0.0
    """Validation rows taken from the training data: a share below 1, or a number of rows. Which rows hangs on their
    content: equal rows stay together, and with a share a row never changes sides when others are added."""
    sequence_len: Annotated[
        Whole,
        Field(ge=8, examples=[1024, 512]),
        Reaches("format", "train", unsloth=("load", "format", "adapt", "train")),
    ] = 2048
    """Tokens of a row at most."""
    excess_length_strategy: Annotated[
        Literal["drop", "truncate", "error"], Field(examples=["truncate", "drop"]), Reaches("format")
    ] = "drop"
    """What becomes of a longer row; how many are dropped or cut is always reported."""
    chat_template: Annotated[
        Literal["tokenizer_default", "chatml", "llama3", "phi_3", "phi_35", "jinja"],
        Field(examples=["chatml", "phi_3"]),
        Reaches("format"),
    ] = "tokenizer_default"
    """How messages become text: the tokenizer's own template, one by name, or `jinja` for chat_template_jinja."""
    chat_template_jinja: Annotated[
        str | None,
        Field(min_length=1, examples=["{{ messages[0]['content'] }}", "{{ messages[-1]['content'] }}"]),
        Reaches("format", needs={"chat_template": "jinja"}),
    ] = None
    """The template's text when chat_template is `jinja`. It runs in jinja2's sandbox."""
    train_on_inputs: Annotated[bool, Reaches("format")] = False
    """false: only the assistant's turns with their end token are learned. true: every token."""
    sample_packing: Annotated[bool, Reaches("format", "train")] = False
    """Put several rows into one of sequence_len tokens; they never attend to each other."""
    pad_to_sequence_len: Annotated[bool, Reaches("train")] = False
    """Pad every batch to sequence_len (constant shapes) instead of to its longest row; packed, to micro_batch_size of
    them."""
