"""Runs a whole graph at once, exactly."""
