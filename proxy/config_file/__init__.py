"""Floor 1: reading the settings file: interpolation, positions, errors."""
