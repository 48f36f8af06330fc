"""Floor 1: reading the settings file: interpolation, positions, errors."""

from proxy.config_file.loader import EnvironmentSettingsError, Loaded, load, load_env
from proxy.config_file.problems import Problem, render

__all__ = ["EnvironmentSettingsError", "Loaded", "Problem", "load", "load_env", "render"]
