"""The settings as frozen typed objects, one file for each part of the config file."""
