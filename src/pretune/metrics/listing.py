"""Every metric, and every score by its name."""

from pretune.metrics.base import Metric, ScoreSpec
from pretune.metrics.classification import ClassificationMetric
from pretune.metrics.conversation import ConversationMetric
from pretune.metrics.detection import DetectionMetric
from pretune.metrics.embedding import EmbeddingMetric
from pretune.metrics.keypoints import KeypointMetric
from pretune.metrics.language_model import LanguageModelMetric
from pretune.metrics.multilabel import MultilabelMetric
from pretune.metrics.question_answering import QuestionAnsweringMetric
from pretune.metrics.recognition import RecognitionMetric
from pretune.metrics.regression import RegressionMetric
from pretune.metrics.segmentation import SegmentationMetric
from pretune.metrics.synthesis import SynthesisMetric
from pretune.metrics.tagging import TaggingMetric
from pretune.metrics.writing import WritingMetric

__all__ = ["METRICS", "spec_of"]

METRICS: tuple[type[Metric], ...] = (
    ClassificationMetric,
    LanguageModelMetric,
    MultilabelMetric,
    RecognitionMetric,
    RegressionMetric,
    SynthesisMetric,
    TaggingMetric,
    WritingMetric,
    ConversationMetric,
    SegmentationMetric,
    KeypointMetric,
    QuestionAnsweringMetric,
    DetectionMetric,
    EmbeddingMetric,
)


def spec_of(name: str) -> ScoreSpec | None:
    """What a score of this name is; None for one that no metric has (a loss, a figure of pre-training)."""
    return next((spec for kind in METRICS if (spec := kind.spec(name)) is not None), None)
