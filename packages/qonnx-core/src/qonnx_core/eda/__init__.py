"""Simulators and synthesizers behind one stream contract; import the submodule you need."""
