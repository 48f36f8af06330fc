"""One generation at work: its bytes from the upstream into the tape, and from there to its readers."""
