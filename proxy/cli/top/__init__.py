"""`quell top`: a live table of what runs, on a whole terminal.

`source` gets what runs in a thread of its own, `view` keeps it, `board` knows what the keys do, `table` and `frame` lay
it out, `screen` owns the terminal, `loop` lets them meet. Only `source`, `screen` and `loop` touch the outside.
"""
