"""The statistics: distances between two histograms, each with its effect size and calibrated p-value."""
