"""What can be said of a text's characters: encodings, scripts, words, personal data, cleaning."""
