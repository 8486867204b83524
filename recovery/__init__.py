"""From the distances between views to orientations, a map, and figures to trust them by."""
