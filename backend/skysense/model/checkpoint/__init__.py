"""Released checkpoints: read, recognised, checked and converted to one backbone file; backbone files, loaded."""
