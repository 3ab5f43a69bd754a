"""The data passport: what each check counts, and what it says."""
