"""Changes to a graph, one per file; each edits in place, counts its edits and changes nothing when run again."""
