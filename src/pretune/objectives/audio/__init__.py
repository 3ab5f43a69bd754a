"""Learning from sound without labels."""
