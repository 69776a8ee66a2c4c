"""Result layers: loading, styles, and the live map."""
