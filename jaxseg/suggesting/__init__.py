"""A config for a data set, each setting with its reason."""
