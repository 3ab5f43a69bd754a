"""What labels mean: one file a task, listed in :data:`TASKS`."""

from pretune.tasks.audio_classification import AudioClassification, AudioMultilabelClassification
from pretune.tasks.audio_regression import AudioRegression
from pretune.tasks.base import Task
from pretune.tasks.conversation import Conversation
from pretune.tasks.image_classification import ImageClassification, ImageMultilabelClassification
from pretune.tasks.image_regression import ImageRegression
from pretune.tasks.keypoint_detection import KeypointDetection
from pretune.tasks.listing import TASKS, check_settings, find_task, saved_task, task_named, task_on, task_restored
from pretune.tasks.object_detection import ObjectDetection
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.question_answering import QuestionAnswering
from pretune.tasks.semantic_segmentation import SemanticSegmentation
from pretune.tasks.sentence_embedding import SentenceEmbedding
from pretune.tasks.speech_recognition import SpeechRecognition
from pretune.tasks.text_classification import TextClassification, TextMultilabelClassification
from pretune.tasks.text_generation import TextGeneration
from pretune.tasks.text_regression import TextRegression
from pretune.tasks.text_to_speech import TextToSpeech
from pretune.tasks.text_to_text import TextToText
from pretune.tasks.token_classification import TokenClassification

__all__ = [
    "TASKS",
    "AudioClassification",
    "AudioMultilabelClassification",
    "AudioRegression",
    "Conversation",
    "EncodedRows",
    "ImageClassification",
    "ImageMultilabelClassification",
    "ImageRegression",
    "KeypointDetection",
    "ObjectDetection",
    "QuestionAnswering",
    "SemanticSegmentation",
    "SentenceEmbedding",
    "SpeechRecognition",
    "Task",
    "TextClassification",
    "TextGeneration",
    "TextMultilabelClassification",
    "TextRegression",
    "TextToSpeech",
    "TextToText",
    "TokenClassification",
    "check_settings",
    "find_task",
    "saved_task",
    "task_named",
    "task_on",
    "task_restored",
]
