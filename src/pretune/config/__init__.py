"""The options that several verbs share, in groups: a verb's settings class inherits those it needs."""

from pretune.config.data import (
    CLEAN_STEPS,
    REDACTIONS,
    AsCleanedSettings,
    AsReadSettings,
    CleanSettings,
    DataSettings,
    StreamSettings,
    cleaning_settings,
    cleaning_steps,
)
from pretune.config.privacy import PrivacySettings
from pretune.config.task import (
    READ_BY_MODALITY,
    AnsweringSettings,
    AudioSettings,
    AugmentSettings,
    BackboneSettings,
    DecodingSettings,
    ImageSettings,
    PoolingSettings,
    PretrainingSettings,
    TaskSettings,
    TextSettings,
    WritingSettings,
)
from pretune.config.train import LabelledTrainSettings, OutSettings, RunSettings, ShardSettings, TrainSettings

__all__ = [
    "CLEAN_STEPS",
    "READ_BY_MODALITY",
    "REDACTIONS",
    "AnsweringSettings",
    "AsCleanedSettings",
    "AsReadSettings",
    "AudioSettings",
    "AugmentSettings",
    "BackboneSettings",
    "CleanSettings",
    "DataSettings",
    "DecodingSettings",
    "ImageSettings",
    "LabelledTrainSettings",
    "OutSettings",
    "PoolingSettings",
    "PretrainingSettings",
    "PrivacySettings",
    "RunSettings",
    "ShardSettings",
    "StreamSettings",
    "TaskSettings",
    "TextSettings",
    "TrainSettings",
    "WritingSettings",
    "cleaning_settings",
    "cleaning_steps",
]
