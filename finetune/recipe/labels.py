"""Recipe keys of what is learned: whose turns, which end tokens, what of special-token text; and what a chat template
is given. Knows no column and no source."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from finetune.recipe.base import Reaches, Section

Ends = Literal["turn", "all", "last", "none"]
Roles = list[Annotated[str, Field(min_length=1)]]
Template = Literal[
    "tokenizer_default",
    "jinja",
    "chatml",
    "llama2",
    "llama3",
    "llama3_1",
    "llama4",
    "phi_3",
    "phi_35",
    "phi_4",
    "gemma",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4_unified",
    "mistral",
    "mistral_v1",
    "mistral_v2v3",
    "mistral_v3_tekken",
    "mistral_v7_tekken",
    "qwen_25",
    "qwen3",
    "qwen3_5",
    "cohere",
    "aya",
    "deepseek_v2",
    "deepseek_v3",
    "exaone",
    "exaone4",
    "falcon_h1",
    "nemotron_h",
    "jamba",
    "metharme",
    "zephyr",
    "vicuna",
    "alpaca",
]
NAMED = tuple(name for name in get_args(Template) if name not in ("tokenizer_default", "jinja"))
Fallback = Annotated[str, Field(pattern=rf"^tokenizer_default_fallback_({'|'.join(NAMED)})$")]
Shipped = Annotated[str, Field(pattern=r"^trl/[A-Za-z0-9_]+$")]
ChatTemplate = Template | Fallback | Shipped
_ROLES = [["assistant"], ["user", "assistant"]]
_CHAT = {"type": "chat_template"}


class EntryLabels(Section):
    """Keys of one entry of `datasets`."""

    roles_to_train: Annotated[Roles | None, Field(examples=_ROLES), Reaches("format", needs=_CHAT)] = None
    """Whose turns of this source are learned, by our names or the data's. Unset: as the recipe's key of this name."""
    train_on_eos: Annotated[Ends | None, Field(examples=["turn", "none"]), Reaches("format", needs=_CHAT)] = None
    """Whose end tokens of this source are learned. Unset: as the recipe's key of this name."""
    train_on_eot: Annotated[Ends | None, Field(examples=["turn", "none"]), Reaches("format", needs=_CHAT)] = None
    """The same for an end token that is not the tokenizer's end of sequence. Unset: as the recipe's key of this
    name."""
    message_field_training: Annotated[
        str | None, Field(min_length=1, examples=["train", "training"]), Reaches("format", needs=_CHAT)
    ] = None
    """Field of a message that says whether it is learned (true, false); null leaves it to roles_to_train."""
    message_field_training_detail: Annotated[
        str | None, Field(min_length=1, examples=["train_detail", "parts"]), Reaches("format", needs=_CHAT)
    ] = None
    """Field of a message that lists which of its characters are learned: {begin_offset, end_offset, train}, the end
    included."""
    drop_system_message: Annotated[bool, Field(examples=[True, False]), Reaches("format", needs=_CHAT)] = False
    """Leave out the system message that a conversation begins with."""
    chat_template: Annotated[
        ChatTemplate | None, Field(examples=["chatml", "tokenizer_default_fallback_chatml"]), Reaches("format")
    ] = None
    """How the messages of this source become text, as the recipe's key of this name, and unset the same. The tokenizer
    is saved with the recipe's template, or where it names none, with the first source's."""
    chat_template_jinja: Annotated[
        str | None,
        Field(min_length=1, examples=["{{ messages[0]['content'] }}", "{{ messages[-1]['content'] }}"]),
        Reaches("format", needs={"chat_template": "jinja"}),
    ] = None
    """The template when this source's chat_template is `jinja`: its text, or a file."""


class LabelSection(Section):
    """Keys of the whole recipe."""

    train_on_inputs: Annotated[bool, Reaches("format")] = False
    """false: only the turns of roles_to_train with their end tokens are learned. true: every turn is (and of other
    forms than messages, every token); what the template writes before a turn is not."""
    roles_to_train: Annotated[Roles | None, Field(examples=_ROLES), Reaches("format")] = None
    """Whose turns are learned where neither the entry nor the message says it. Unset: assistant."""
    train_on_eos: Annotated[Ends | None, Field(examples=["all", "none"]), Reaches("format")] = None
    """Whose end tokens are learned: `turn`, those of learned turns; `all`; `last`, of the last learned turn; `none`:
    the model then never learns to stop. Unset: turn."""
    train_on_eot: Annotated[Ends | None, Field(examples=["all", "none"]), Reaches("format")] = None
    """The same where the token that ends a turn is not the tokenizer's end of sequence. Unset: as train_on_eos."""
    eot_tokens: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(min_length=1, examples=[["<|end|>"], ["<|im_end|>"]]),
        Reaches("format"),
    ] = None
    """Tokens that may end a turn. Unset: the special token that the chat template writes after an answer, found by
    rendering one."""
    multiturn: Annotated[Literal["all", "last", "explode"], Field(examples=["last", "explode"]), Reaches("format")] = (
        "all"
    )
    """Conversations with several answers: `all` are learned in one example; only the `last`; or `explode` makes an
    example of each, for templates that rewrite earlier turns, as reasoning models' do."""
    special_tokens_in_content: Annotated[
        Literal["parse", "text", "error"], Field(examples=["text", "error"]), Reaches("format")
    ] = "parse"
    """Text in a row that reads like a special token (<|im_end|>). `parse`: it becomes that token, and the rows are
    counted. `text`: it is tokenized as the characters it is made of, so that no row can forge a turn. `error`: a bad
    row."""
    chat_template_kwargs: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], bool | int | float | str | None] | None,
        Field(examples=[{"enable_thinking": False}, {"enable_thinking": True}]),
        Reaches("format"),
    ] = None
    """What the chat template is given by name. It becomes the template's default and is saved with the tokenizer."""
    default_system_message: Annotated[
        str | None, Field(min_length=1, examples=["You are a helpful assistant.", "Be brief."]), Reaches("format")
    ] = None
    """System message of conversations that begin without one. It is saved with the tokenizer's chat template."""
