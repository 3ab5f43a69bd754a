"""An explained example as a page and a figure."""
