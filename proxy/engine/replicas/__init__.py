"""This replica among the others: what it makes known, what it asks, what it does for them."""
