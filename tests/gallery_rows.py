"""Rows of the public datasets that shipped recipes name: their columns, roles and nesting as the hub has them, the
texts made up. Knows no recipe."""

import json
from typing import Any


def shared(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": role, "value": text} for role, text in said]


def told(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in said]


TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {"type": "object"}}}
TALK = told(("user", "What is a tide?"), ("assistant", "The sea, rising and falling."))
WORSE = told(("user", "What is a tide?"), ("assistant", "No idea."))
SCORES = {"score_chosen": 8.5, "score_rejected": 4.0}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Oslo"}}\n</tool_call>'

ROWS: dict[str, list[dict[str, Any]]] = {
    "yahma/alpaca-cleaned": [
        {"output": "Red, blue, yellow.", "input": "", "instruction": "Name the primary colours."},
        {"output": "Happy", "input": "I won!", "instruction": "Classify the mood."},
    ],
    "mlabonne/FineTome-100k": [
        {"conversations": shared(("human", "Hi"), ("gpt", "Hello.")), "source": "infini-instruct", "score": 5.2},
        {
            "conversations": shared(
                ("system", "Be brief."), ("human", "Hi"), ("gpt", "Hi."), ("human", "?"), ("gpt", "!")
            ),
            "source": "orca",
            "score": 4.9,
        },
    ],
    "macadeliccc/opus_samantha": [{"conversations": shared(("human", "Hi"), ("gpt", "Hello, I am Samantha."))}],
    "trl-lib/Capybara": [{"source": "Airoboros", "messages": [*TALK, *TALK], "num_turns": 2}],
    "HuggingFaceH4/ultrachat_200k": [{"prompt": "What is a tide?", "prompt_id": "ab", "messages": [*TALK, *TALK]}],
    "HuggingFaceTB/smol-smoltalk": [
        {"messages": told(("system", "Be kind."), *(("user", "Hi"), ("assistant", "Hi.")))}
    ],
    "HuggingFaceTB/smoltalk": [{"messages": TALK, "source": "smol-magpie-ultra"}],
    "HuggingFaceH4/ultrafeedback_binarized": [
        {"prompt": "What is a tide?", "prompt_id": "ab", "chosen": TALK, "rejected": WORSE, "messages": TALK, **SCORES}
    ],
    "trl-lib/ultrafeedback_binarized": [{"chosen": TALK, "rejected": WORSE, **SCORES}],
    "trl-lib/ultrafeedback-prompt": [{"prompt": TALK[:1]}],
    "trl-lib/kto-mix-14k": [
        {"prompt": TALK[:1], "completion": TALK[1:], "label": True},
        {"prompt": [*TALK, TALK[0]], "completion": WORSE[1:], "label": False},
    ],
    "mlabonne/orpo-dpo-mix-40k": [
        {"source": "Airoboros", "chosen": TALK, "rejected": WORSE, "prompt": "What is a tide?", "question": None},
    ],
    "princeton-nlp/llama3-ultrafeedback-armorm": [
        {
            "prompt_id": "ab",
            "prompt": "What is a tide?",
            "all_generated_responses": ["a", "b"],
            "all_rm_scores": [0.1, 0.2],
            "chosen": TALK,
            "rejected": WORSE,
        }
    ],
    "Team-ACE/ToolACE": [
        {
            "system": "You are an expert in composing functions. Here is a list of functions: [...]",
            "conversations": shared(
                ("user", "Weather in Oslo?"),
                ("assistant", '[weather(place="Oslo")]'),
                ("tool", '[{"name": "weather", "results": {"degrees": 4}}]'),
                ("assistant", "It has 4 degrees."),
            ),
        }
    ],
    "NousResearch/hermes-function-calling-v1": [
        {
            "id": "ab",
            "conversations": shared(
                ("system", "You are a function calling AI model. <tools> [...] </tools>"),
                ("human", "Weather in Oslo?"),
                ("gpt", CALL),
                ("tool", '<tool_response>\n{"degrees": 4}\n</tool_response>'),
                ("gpt", "It has 4 degrees."),
            ),
            "tools": json.dumps([TOOL]),
            "category": "Weather",
            "subcategory": "Now",
            "task": "Weather",
        }
    ],
    "open-r1/Mixture-of-Thoughts": [
        {
            "messages": told(("user", "2 + 2?"), ("assistant", "<think>\nTwo and two.\n</think>\n\nIt is 4.")),
            "num_tokens": 40,
            "source": "open-r1/OpenR1-Math-220k",
        }
    ],
    "openai/gsm8k": [{"question": "2 + 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}],
    "databricks/databricks-dolly-15k": [
        {"instruction": "Who wrote it?", "context": "", "response": "Nobody knows.", "category": "open_qa"},
        {"instruction": "Who wrote it?", "context": "By Ada.", "response": "Ada.", "category": "closed_qa"},
    ],
    "b-mc2/sql-create-context": [
        {
            "answer": "SELECT COUNT(*) FROM head WHERE age > 56",
            "question": "How many heads are older than 56?",
            "context": "CREATE TABLE head (age INTEGER)",
        }
    ],
    "wikimedia/wikipedia": [
        {"id": "1", "url": "https://ko.wikipedia.org/wiki/", "title": "서울", "text": "서울은 도시이다."}
    ],
    "roneneldan/TinyStories": [{"text": "Once upon a time there was a frog."}],
}
"""Path on the hub -> rows, the second of another kind where there is one."""
