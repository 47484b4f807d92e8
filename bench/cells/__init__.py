"""From words to cells: what Hydra composes, and the grids of studies."""
