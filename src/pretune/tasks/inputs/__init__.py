"""What a row of texts, of pictures, of clips is to a task."""
