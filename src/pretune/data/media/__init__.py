"""Pictures and clips as files: found, looked at once, read."""
