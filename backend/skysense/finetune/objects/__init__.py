"""Detection of objects: a head that finds centres, sizes and angles in high-resolution imagery."""
