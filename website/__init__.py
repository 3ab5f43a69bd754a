"""The documentation as a site: the project's own Markdown, and reference pages that are made from the code."""
