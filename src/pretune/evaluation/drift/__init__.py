"""Has what a model reads moved away from what it learned: two-sample tests, label shift, expected accuracy. Knows no modality's task."""
