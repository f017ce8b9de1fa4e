"""The whole recipe: every section as one closed model with flat keys. Decides nothing itself."""

from finetune.recipe.adapter import AdapterSection
from finetune.recipe.data import DataSection
from finetune.recipe.evaluation import EvaluationSection
from finetune.recipe.method import MethodSection
from finetune.recipe.model import ModelSection
from finetune.recipe.output import GenerationSection, OutputSection
from finetune.recipe.parallel import ParallelSection
from finetune.recipe.speed import SpeedSection
from finetune.recipe.surviving import SurvivingSection
from finetune.recipe.tracking import TrackingSection
from finetune.recipe.training import TrainingSection

# In the order in which the docs show them.
SECTIONS = {
    "model": ModelSection,
    "data": DataSection,
    "method": MethodSection,
    "adapter": AdapterSection,
    "training": TrainingSection,
    "speed": SpeedSection,
    "parallel": ParallelSection,
    "surviving": SurvivingSection,
    "evaluation": EvaluationSection,
    "generation": GenerationSection,
    "output": OutputSection,
    "tracking": TrackingSection,
}


class Recipe(
    TrackingSection,
    OutputSection,
    GenerationSection,
    EvaluationSection,
    SurvivingSection,
    ParallelSection,
    SpeedSection,
    TrainingSection,
    AdapterSection,
    MethodSection,
    DataSection,
    ModelSection,
):
    """A fine-tuning recipe. The keys are Axolotl's where Axolotl has them."""
