"""What rows are made of (:class:`Modality`), and how texts, pictures and clips become arrays and padded batches. Knows no model and no task."""

from pretune.modalities.base import FILES, Modality, modality_of_columns

__all__ = ["FILES", "Modality", "modality_of_columns"]
