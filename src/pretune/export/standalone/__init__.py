"""Programs that are copied beside an exported model and run without pretune."""
