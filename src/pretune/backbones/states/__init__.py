"""What a trunk gives: states that are kept, shared, compared."""
