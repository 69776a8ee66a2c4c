"""The SkySense panel."""
