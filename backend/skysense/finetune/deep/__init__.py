"""Training by gradient: the backbone itself is adapted to a scene's labels before the head is fitted."""
