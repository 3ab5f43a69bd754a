"""Charts and figures as SVG and PNG."""
