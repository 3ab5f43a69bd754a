"""A run or an export as a service over HTTP, with a page for people. Nothing here trains."""
