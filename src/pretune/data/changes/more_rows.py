"""Rows that a program made, behind those that were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["with_more_rows"]


def with_more_rows(train: Dataset, rows: Sequence[dict[str, Any]]) -> Dataset:
    """The training rows with these behind them; columns that they do not have are empty there."""
    import pyarrow as pa
    from datasets import Dataset, concatenate_datasets
    from datasets.info import DatasetInfo
    from datasets.table import InMemoryTable

    columns = {name: [row.get(name) for row in rows] for name in train.column_names}
    table = pa.table(columns, schema=train.features.arrow_schema)  # from_dict takes no hash of 64 bits
    return concatenate_datasets([train, Dataset(InMemoryTable(table), info=DatasetInfo(features=train.features))])
