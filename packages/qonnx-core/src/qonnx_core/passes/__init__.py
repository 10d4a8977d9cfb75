"""Changes to a graph, one pass per file."""
