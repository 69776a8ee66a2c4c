"""Adapt to my imagery: a base model's pretraining, continued on the user's own images."""
