"""What can be said about a model without changing it."""
