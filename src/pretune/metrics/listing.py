"""Every metric, and every score by its name."""

from pretune.metrics.base import Metric, ScoreSpec
from pretune.metrics.classification import ClassificationMetric
from pretune.metrics.multilabel import MultilabelMetric
from pretune.metrics.places.detection import DetectionMetric
from pretune.metrics.places.keypoints import KeypointMetric
from pretune.metrics.places.segmentation import SegmentationMetric
from pretune.metrics.recognition import RecognitionMetric
from pretune.metrics.regression import RegressionMetric
from pretune.metrics.synthesis import SynthesisMetric
from pretune.metrics.texts.conversation import ConversationMetric
from pretune.metrics.texts.embedding import EmbeddingMetric
from pretune.metrics.texts.language_model import LanguageModelMetric
from pretune.metrics.texts.question_answering import QuestionAnsweringMetric
from pretune.metrics.texts.tagging import TaggingMetric
from pretune.metrics.texts.writing import WritingMetric

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
