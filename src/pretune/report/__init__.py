"""Pages and cards from run folders; nothing here trains or scores."""
