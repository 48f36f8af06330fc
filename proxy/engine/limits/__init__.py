"""Budgets and limits on streams at work, on one replica and over all of them."""
