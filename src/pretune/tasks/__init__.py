"""What labels mean: one file a task, listed in :data:`TASKS`."""

from pretune.tasks.base import Task
from pretune.tasks.classes.audio_classification import AudioClassification, AudioMultilabelClassification
from pretune.tasks.classes.image_classification import ImageClassification, ImageMultilabelClassification
from pretune.tasks.classes.text_classification import TextClassification, TextMultilabelClassification
from pretune.tasks.listing import TASKS, check_settings, find_task, saved_task, task_named, task_on, task_restored
from pretune.tasks.places.keypoint_detection import KeypointDetection
from pretune.tasks.places.object_detection import ObjectDetection
from pretune.tasks.places.semantic_segmentation import SemanticSegmentation
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.sentence_embedding import SentenceEmbedding
from pretune.tasks.spans.question_answering import QuestionAnswering
from pretune.tasks.spans.token_classification import TokenClassification
from pretune.tasks.speech.speech_recognition import SpeechRecognition
from pretune.tasks.speech.text_to_speech import TextToSpeech
from pretune.tasks.values.audio_regression import AudioRegression
from pretune.tasks.values.image_regression import ImageRegression
from pretune.tasks.values.text_regression import TextRegression
from pretune.tasks.written.conversation import Conversation
from pretune.tasks.written.text_generation import TextGeneration
from pretune.tasks.written.text_to_text import TextToText

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
