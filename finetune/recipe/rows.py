"""Recipe keys that say how a row of data is read: its form, its columns, a message's fields and roles."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Reaches, Section
from finetune.recipe.row_types import JudgedForm, PairForm, PromptForm

_CHAT = {"type": "chat_template"}
Role = Literal[
    "system", "user", "assistant", "tool", "developer", "function", "ipython", "observation", "context", "documents"
]


class MessageProperties(Section):
    role: Annotated[str, Field(min_length=1, examples=["from", "speaker"]), Reaches("format")] = "role"
    """Name of the field that says who speaks."""
    content: Annotated[str, Field(min_length=1, examples=["value", "text"]), Reaches("format")] = "content"
    """Name of the field that holds the message."""
    tool_calls: Annotated[str | None, Field(min_length=1, examples=["calls", "functions"]), Reaches("format")] = None
    """Name of the field with the tools that an assistant calls. Unset: `tool_calls`."""
    tool_call_id: Annotated[str | None, Field(min_length=1, examples=["call_id", "id"]), Reaches("format")] = None
    """Name of the field that says which call a tool answers. Unset: `tool_call_id`."""
    name: Annotated[str | None, Field(min_length=1, examples=["tool", "who"]), Reaches("format")] = None
    """Name of the field with a tool's or a speaker's name. Unset: `name`."""
    reasoning_content: Annotated[
        str | None, Field(min_length=1, examples=["reasoning", "thoughts"]), Reaches("format")
    ] = None
    """Name of the field with an answer's reasoning, for a template that reads `reasoning_content`."""
    thinking: Annotated[str | None, Field(min_length=1, examples=["reasoning", "thoughts"]), Reaches("format")] = None
    """Name of the field with an answer's reasoning, for a template that reads `thinking`."""


class PromptFormat(Section):
    field_instruction: Annotated[str, Field(min_length=1, examples=["question", "prompt"]), Reaches("format")] = (
        "instruction"
    )
    """Column with the instruction."""
    field_input: Annotated[str, Field(examples=["context", "document"]), Reaches("format")] = "input"
    """Column with what the instruction is about; it may be missing, null or empty."""
    field_output: Annotated[str, Field(min_length=1, examples=["answer", "response"]), Reaches("format")] = "output"
    """Column with the answer, which is learned."""
    field_system: Annotated[str, Field(examples=["rules", "persona"]), Reaches("format")] = "system"
    """Column with the row's system message; it may be missing, null or empty."""
    format: Annotated[
        str,
        Field(
            pattern=r"\{(instruction|input)\}",
            examples=["[INST] {instruction}\n{input} [/INST]", "Q: {instruction} ({input})\nA: "],
        ),
        Reaches("format"),
    ] = "{instruction} {input} "
    """What stands before the answer, with `{instruction}` and `{input}` in their places. A brace that is meant as one
    is doubled."""
    no_input_format: Annotated[
        str, Field(min_length=1, examples=["[INST] {instruction} [/INST]", "Q: {instruction}\nA: "]), Reaches("format")
    ] = "{instruction} "
    """The same for rows without an input."""
    system_prompt: Annotated[str, Field(examples=["You are kind.", "Answer shortly."]), Reaches("format")] = ""
    """System message of rows that have no such column."""
    system_format: Annotated[str, Field(examples=["<<SYS>>{system}<</SYS>>\n", "{system}\n"]), Reaches("format")] = (
        "{system}"
    )
    """How a system message is written before the rest, with `{system}` in its place. Empty: it is left out."""
    as_turns: Annotated[bool, Field(examples=[True, False]), Reaches("format")] = False
    """Make the prompt a user's turn, the answer an assistant's and the system message one of its own, all written by
    the chat template, instead of one plain text."""
    field_prompt: Annotated[str | None, Field(min_length=1, examples=["question", "input"]), Reaches("format")] = None
    """Of preferences and judgements: column with the question. Unset: `prompt`."""
    field_chosen: Annotated[str | None, Field(min_length=1, examples=["better", "good"]), Reaches("format")] = None
    """Of preferences: column with the chosen answer. Unset: `chosen`."""
    field_rejected: Annotated[str | None, Field(min_length=1, examples=["worse", "bad"]), Reaches("format")] = None
    """Of preferences: column with the rejected answer. Unset: `rejected`."""
    field_completion: Annotated[str | None, Field(min_length=1, examples=["answer", "text"]), Reaches("format")] = None
    """Of judgements: column with the answer. Unset: `completion`."""
    field_label: Annotated[str | None, Field(min_length=1, examples=["good", "liked"]), Reaches("format")] = None
    """Of judgements: column that says whether the answer is good. Unset: `label`."""
    prompt_format: Annotated[
        str | None,
        Field(pattern=r"\{prompt\}", examples=["[INST] {prompt} [/INST]", "{system}\nQ: {prompt}\nA: "]),
        Reaches("format"),
    ] = None
    """Of preferences and judgements: what stands before an answer, with `{prompt}` and `{system}` in their places.
    Unset: `{prompt}`."""
    chosen_format: Annotated[
        str | None, Field(pattern=r"\{chosen\}", examples=["{chosen}</s>", " {chosen}"]), Reaches("format")
    ] = None
    """Of preferences: how the chosen answer is written. Unset: `{chosen}`; an end token follows unless it ends with
    one."""
    rejected_format: Annotated[
        str | None, Field(pattern=r"\{rejected\}", examples=["{rejected}</s>", " {rejected}"]), Reaches("format")
    ] = None
    """Of preferences: how the rejected answer is written. Unset: `{rejected}`."""
    completion_format: Annotated[
        str | None, Field(pattern=r"\{completion\}", examples=["{completion}</s>", " {completion}"]), Reaches("format")
    ] = None
    """Of judgements: how the answer is written. Unset: `{completion}`."""


Form = Literal[
    "chat_template",
    "alpaca",
    "alpaca:instruct",
    "alpaca:chat",
    "alpaca:chatml",
    "alpaca:phi",
    "alpaca_instruct",
    "alpaca_instruct.load_no_prompt",
    "alpaca_chat",
    "alpaca_chat.load_concise",
    "alpaca_chat.load_no_prompt",
    "alpaca_chat.load_qa",
    "alpaca_chat.load_camel_ai",
    "alpaca_w_system",
    "alpaca_w_system.load_chat",
    "alpaca_w_system.load_instruct",
    "alpaca_w_system.load_open_orca",
    "alpaca_w_system.load_open_orca_chatml",
    "gpteacher",
    "gpteacher:instruct",
    "gpteacher:chat",
    "gpteacher:chatml",
    "gpteacher:phi",
    "oasst",
    "oasst:instruct",
    "oasst:chat",
    "oasst:chatml",
    "oasst:phi",
    "reflection",
    "reflection:instruct",
    "orcamini",
    "metharme",
    "creative_acr.load_answer",
    "creative_acr.load_critique",
    "creative_acr.load_revise",
    "jeopardy",
    "jeopardy:instruct",
    "jeopardy:chat",
    "jeopardy:chatml",
    "jeopardy:phi",
    "explainchoice",
    "explainchoice:instruct",
    "explainchoice:chat",
    "explainchoice:chatml",
    "explainchoice:phi",
    "concisechoice",
    "concisechoice:chat",
    "context_qa",
    "context_qa.load_404",
    "context_qa.load_v2",
    "summarizetldr",
    "summarizetldr:chat",
    "question_answer",
    "summarization",
    "translation",
    "prompt_completion",
    "completion",
    "input_output",
    "pretokenized",
]
AnyForm = Literal[Form, PairForm, JudgedForm, PromptForm]
SAME = {
    "alpaca:instruct": "alpaca",
    "alpaca_instruct": "alpaca",
    "alpaca_chat": "alpaca:chat",
    "alpaca_w_system.load_chat": "alpaca_w_system",
    "gpteacher:instruct": "gpteacher",
    "oasst:instruct": "oasst",
    "jeopardy:instruct": "jeopardy",
    "explainchoice:instruct": "explainchoice",
    "concisechoice:chat": "concisechoice",
    "summarizetldr:chat": "summarizetldr",
}
"""Names of Axolotl's that mean what another means."""


class RowKeys(Section):
    """The part of an entry of datasets that says how its rows are read."""

    type: Annotated[
        AnyForm | PromptFormat | None,
        Field(examples=["chat_template", "alpaca", {"field_instruction": "question", "field_output": "answer"}]),
        Reaches("format"),
    ] = None
    """Form of a row: `chat_template` (a list of messages), `completion` (plain text, all of it learned), `alpaca` and
    the other instruction formats by Axolotl's names, `prompt_completion`, `question_answer`, `summarization` and
    `translation` by their columns, `input_output` (pieces of text, each learned or not), `pretokenized` (token ids and
    labels), or a mapping: a prompt format of your own. Of preferences, judgements and questions: `chat_template`
    (columns under the recipe's template), Axolotl's names for columns and a wording of their own (`chatml.intel`), or
    `passthrough` (plain texts as they are, as TRL takes them). Unset: detected from the columns of the first row."""
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
    """Names of a message's role and content fields. Unset: role/content, or from/value where only those are there. What
    else a message holds reaches the template under its own name."""
    roles: Annotated[
        dict[Role, list[str] | str] | None,
        Field(examples=[{"user": ["human"], "assistant": ["gpt"]}, {"user": ["me"], "assistant": ["bot"]}]),
        Reaches("format", needs=_CHAT),
    ] = None
    """Role as the template knows it (system, user, assistant, tool; some know developer, function, ipython,
    observation, context or documents) -> the names the data uses for it. Adds to: user = human, prompter; assistant =
    gpt, model, bot, chatgpt; system = developer; tool = function, observation, function_response; capitals and white
    space around a name do not matter."""
    field_system: Annotated[
        str | None, Field(min_length=1, examples=["system_prompt", "rules"]), Reaches("format", needs=_CHAT)
    ] = None
    """Column with the system message of a conversation that does not open with one. Unset: `system`."""
    field_prompt: Annotated[str | None, Field(min_length=1, examples=["question", "ask"]), Reaches("format")] = None
    """Column with the question of a preference, a judgement or a row without an answer. Unset: `prompt`, or what the
    type reads. Of rows to imitate, with `type: question_answer`. Unset there: `question`."""
    field_chosen: Annotated[str | None, Field(min_length=1, examples=["better", "good"]), Reaches("format")] = None
    """Column with the chosen answer: text, a message or messages. Unset: `chosen`."""
    field_rejected: Annotated[str | None, Field(min_length=1, examples=["worse", "bad"]), Reaches("format")] = None
    """Column with the rejected answer. Unset: `rejected`."""
    field_completion: Annotated[str | None, Field(min_length=1, examples=["answer", "text"]), Reaches("format")] = None
    """Column with the answer that is good or bad. Unset: `completion`. Of rows to imitate, with `type:
    question_answer`: the answer. Unset there: `answer`."""
    field_label: Annotated[str | None, Field(min_length=1, examples=["good", "liked"]), Reaches("format")] = None
    """Column that says whether the answer is good. Unset: `label`."""
    field_tools: Annotated[
        str | None, Field(min_length=1, examples=["functions", "apis"]), Reaches("format", needs=_CHAT)
    ] = None
    """Column with the tools that the template is given, a list or its JSON text. Unset: `tools`."""
    field_thinking: Annotated[
        str | None, Field(min_length=1, examples=["reasoning", "thoughts"]), Reaches("format", needs=_CHAT)
    ] = None
    """Field of a message with its reasoning. Unset: `reasoning_content`."""
    template_thinking_key: Annotated[
        str | None, Field(min_length=1, examples=["thinking", "thoughts"]), Reaches("format", needs=_CHAT)
    ] = None
    """Name under which the template reads the reasoning. Unset: `reasoning_content`."""
    split_thinking: Annotated[bool, Field(examples=[True, False]), Reaches("format", needs=_CHAT)] = False
    """Take the reasoning between `<think>` and `</think>` (or `<reasoning>`) out of an answer's content and give it to
    the template by its name."""
