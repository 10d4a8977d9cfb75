"""Puts quantizers into float models: by a user's rules, or parameters onto a grid."""
