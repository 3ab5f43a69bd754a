"""The pages of single verbs."""
