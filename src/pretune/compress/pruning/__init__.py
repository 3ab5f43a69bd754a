"""What matters least in a model, and how it is taken out."""
