"""What the heads of detectors are to find, how they learn it, and what their numbers mean."""
