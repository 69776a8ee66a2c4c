"""The base model that a training starts from: the built-in one, a file, or released weights from a hub."""
