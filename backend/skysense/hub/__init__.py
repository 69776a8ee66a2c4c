"""Released weights: downloaded from a hub by repository, file and revision, checked, with their licence."""
