"""Pretraining: multi-granularity contrastive learning and geo-context prototypes, from folders of scenes to a backbone file."""
