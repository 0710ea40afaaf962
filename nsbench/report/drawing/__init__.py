"""From charts of the view model to SVG, PDF and PNG."""
