"""The named parameters of a planned target, read from installed code. `**kwargs` does not count by itself; a name that
the library pops from it does. Unsloth is read from its source, since importing it wants a GPU."""

import ast
import functools
import importlib.util
import inspect
from pathlib import Path

from finetune.plan import find

# Where a re-exported target is really defined: module, class, function.
UNSLOTH = {
    "unsloth.FastLanguageModel.from_pretrained": ("unsloth.models.loader", "FastLanguageModel", "from_pretrained"),
    "unsloth.FastLanguageModel.get_peft_model": ("unsloth.models.llama", "FastLlamaModel", "get_peft_model"),
}
# Targets that take **kwargs and read them by name elsewhere.
READ_IN = {
    "transformers.AutoModelForCausalLM.from_pretrained": [
        ("transformers.modeling_utils", "PreTrainedModel", "from_pretrained"),
        ("transformers.models.auto.auto_factory", "_BaseAutoModelClass", "from_pretrained"),
    ],
    "transformers.AutoModelForSequenceClassification.from_pretrained": [
        ("transformers.modeling_utils", "PreTrainedModel", "from_pretrained"),
        ("transformers.models.auto.auto_factory", "_BaseAutoModelClass", "from_pretrained"),
        ("transformers.configuration_utils", "PreTrainedConfig", "__post_init__"),
    ],
    "transformers.AutoTokenizer.from_pretrained": [
        ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase", "from_pretrained"),
        ("transformers.models.auto.tokenization_auto", "AutoTokenizer", "from_pretrained"),
    ],
    "peft.PeftModel.from_pretrained": [("peft.peft_model", "PeftModel", "from_pretrained")],
    "peft.PeftModel.save_pretrained": [("peft.peft_model", "PeftModel", "save_pretrained")],
    "transformers.GenerationConfig": [("transformers.generation.configuration_utils", "GenerationConfig", "__init__")],
}


@functools.cache
def _tree(module: str) -> ast.Module:
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin, f"{package} is not installed; the laws cannot be checked without it"
    return ast.parse(Path(spec.origin).parent.joinpath(*rest).with_suffix(".py").read_text("utf-8"))


@functools.cache
def _function(module: str, owner: str, name: str) -> ast.FunctionDef:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ClassDef) and node.name == owner:
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name == name:
                    return member
    raise AssertionError(f"{module} has no {owner}.{name}")


def _named(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    return {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


@functools.cache
def _popped(function: ast.FunctionDef) -> set[str]:
    """Names that `kwargs.pop("name")` takes, or `kwargs.get("name")`."""
    return {
        str(node.args[0].value)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("pop", "get")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "kwargs"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def parameters(target: str) -> set[str]:
    if target in UNSLOTH:
        return _named(_function(*UNSLOTH[target]))
    if target in READ_IN:
        functions = [_function(*place) for place in READ_IN[target]]
        return set().union(*(_named(function) | _popped(function) for function in functions))
    signature = inspect.signature(find(target))
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name for name, parameter in signature.parameters.items() if parameter.kind not in kinds}


def unsloth_get_peft_model_delegates() -> bool:
    """Whether the public function still hands its arguments on to the one that is read above."""
    body = ast.unparse(_function("unsloth.models.loader", "FastLanguageModel", "get_peft_model"))
    loader = ast.unparse(_tree("unsloth.models.loader"))
    return "get_peft_model(model, *args, **kwargs)" in body and "FastLlamaModel.get_peft_model" in loader
