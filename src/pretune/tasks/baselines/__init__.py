"""What simple methods answer to the same rows."""
