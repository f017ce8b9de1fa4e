"""Names of chat templates as other tools write them -> ours, and those that are refused, each with what to write. Knows
no template's text."""

SPELLINGS = {
    "llama": "llama2",
    "llama-2": "llama2",
    "llama-3": "llama3",
    **dict.fromkeys(
        ("llama-3.1", "llama-31", "llama3.1", "llama-3.2", "llama-32", "llama3.2", "llama-3.3", "llama-33", "llama3.3"),
        "llama3_1",
    ),
    "llama-4": "llama4",
    **dict.fromkeys(("phi-3", "phi3"), "phi_3"),
    **dict.fromkeys(("phi-3.5", "phi-35", "phi3.5", "phi35"), "phi_35"),
    **dict.fromkeys(("phi-4", "phi4"), "phi_4"),
    **dict.fromkeys(("gemma2", "gemma-2"), "gemma"),
    "gemma-3": "gemma3",
    "gemma-3n": "gemma3n",
    "gemma-4": "gemma4",
    **dict.fromkeys(("qwen-2.5", "qwen-25", "qwen2.5", "qwen25", "qwen-2.5-coder", "qwen2.5-coder"), "qwen_25"),
    **dict.fromkeys(("qwen-25-coder", "qwen25-coder", "qwen2_5"), "qwen_25"),
    "qwen-3": "qwen3",
    "qwen-3.5": "qwen3_5",
    "qwen3.5": "qwen3_5",
    "qwen3-instruct": "trl/qwen3_instruct_2507",
    **dict.fromkeys(("gpt-oss", "gptoss", "gpt_oss"), "trl/gptoss"),
    "lfm-2": "trl/lfm2",
    "lfm-2.5": "trl/lfm2_2_5",
    "yi-chat": "chatml",
    "deepseek-v2": "deepseek_v2",
    "deepseek-v3": "deepseek_v3",
    "falcon-h1": "falcon_h1",
}
"""The layouts are the makers'. What Unsloth words otherwise (its date in llama-3.1, its system message of Gemma) is not
copied."""
_OWN = "Where the model brings its own, write tokenizer_default"
_IMAGES = "is a layout for images, and rows here are text"
_COHERE = (
    "begins with several pages of Cohere's instructions, which come with the model: write tokenizer_default, or "
    "trl/cohere2 for the layout of Command R7B"
)
_JINJA = "is not kept here: write chat_template: jinja with its text in chat_template_jinja, or one of those that are"
REFUSED = {
    "command_a": _COHERE,
    "command_a_tool_use": _COHERE,
    "command_a_rag": _COHERE,
    "llama3_2_vision": f"{_IMAGES}: write llama3_1, which is the same but for the images",
    "llava": f"{_IMAGES}: write vicuna, which is the same but for the images, and ends its answers",
    "pixtral": f"{_IMAGES}: write mistral_v3_tekken, which is the same but for the images",
    "qwen2_vl": f"{_IMAGES}: write qwen_25, which is the same but for the images",
    "qwen3-thinking": "asks for a thought before every answer: write tokenizer_default with a thinking model, or qwen3",
    "gemma-4-thinking": "is gemma4 with `chat_template_kwargs: {enable_thinking: true}`: write those",
    **dict.fromkeys(("gemma_chatml", "gemma2_chatml"), "writes ChatML's marks into Gemma's tokens: write gemma"),
    **dict.fromkeys(("unsloth", "vicuna_old", "vicuna old", "starling"), _JINJA),
    "default": f"names no layout. {_OWN}",
}


def refusal(name: str) -> str | None:
    """Why a name is refused, without the name; None for one that nobody is known to write."""
    return REFUSED.get(name.removeprefix("tokenizer_default_fallback_"))
