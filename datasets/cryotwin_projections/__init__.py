"""The tfds dataset `cryotwin_projections`: the projections of the paper's experiments."""
