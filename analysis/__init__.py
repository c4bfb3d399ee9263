"""What the scores mean: statistics, selection, figures. Imports neither `ablate` nor `models`."""
