"""Which labels look wrong, by what a classifier says of rows that it did not learn from: confident learning (Northcutt, Jiang & Chuang
2021, Journal of Artificial Intelligence Research 70, arXiv 1911.00068).

Shapes: N rows, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["LabelErrors", "label_errors"]


class LabelErrors(NamedTuple):
    """``order`` holds the rows by number, the most suspicious first; ``suggested_N`` is of each row the class that is likelier than its label,
    ``margin_N`` how much likelier (negative: the label is the likeliest). ``joint_CC`` estimates how many rows with a label (first) are
    of a class (second): what is off its diagonal is wrong.
    """

    order: np.ndarray
    suggested_N: np.ndarray
    margin_N: np.ndarray
    joint_CC: np.ndarray

    @property
    def estimated(self) -> float:
        """How many labels are estimated to be wrong."""
        return float(self.joint_CC.sum() - np.trace(self.joint_CC))


def label_errors(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> LabelErrors:
    """``probabilities_NC`` were given by classifiers that had not learned the row; ``labels_N`` are class numbers.

    A row is counted for a class where its probability is at least what it is on average in rows with that label (section 3.1): classes
    that are told with less confidence are held to less. The counts are scaled to the rows with each label (equation 3). Rows are ranked by
    how much likelier another class is than the label (the normalised margin of section 3.2): a few of many need not be counted.
    """
    count, num_classes = probabilities_NC.shape
    own_N = probabilities_NC[np.arange(count), labels_N]
    thresholds_C = np.array(
        [own_N[labels_N == c].mean() if (labels_N == c).any() else np.inf for c in range(num_classes)]
    )
    confident_NC = np.where(probabilities_NC >= thresholds_C, probabilities_NC, -1.0)
    counted_N, class_N = confident_NC.max(axis=1) >= 0, confident_NC.argmax(axis=1)
    joint_CC = np.zeros((num_classes, num_classes))
    np.add.at(joint_CC, (labels_N[counted_N], class_N[counted_N]), 1.0)
    rows_C = np.bincount(labels_N, minlength=num_classes)
    unseen_C = joint_CC.sum(axis=1) == 0  # nothing is known of them: their labels count as right
    joint_CC[unseen_C, unseen_C] = 1.0
    joint_CC *= (rows_C / joint_CC.sum(axis=1))[:, None]
    others_NC = probabilities_NC.copy()
    others_NC[np.arange(count), labels_N] = -np.inf
    suggested_N = others_NC.argmax(axis=1)
    margin_N = others_NC.max(axis=1) - own_N
    return LabelErrors(np.argsort(-margin_N, kind="stable"), suggested_N, margin_N, joint_CC)
