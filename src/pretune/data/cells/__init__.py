"""What cells say that are more than a word: boxes, spans, tags, rows in memory."""
