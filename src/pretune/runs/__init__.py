"""What a finished run is to a verb: its model, its rows as it read them, its answers."""
