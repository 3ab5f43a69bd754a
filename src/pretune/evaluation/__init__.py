"""Scores with their evidence: intervals, comparisons, baselines, calibration. Knows no task."""
