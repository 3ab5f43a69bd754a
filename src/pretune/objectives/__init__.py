"""What training means: one file a paradigm."""
