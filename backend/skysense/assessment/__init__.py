"""What a finished map is worth: the areas of its classes, a verification sample, and what that tells of accuracy and area."""
