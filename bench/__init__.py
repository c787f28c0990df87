"""What a check costs, as ratios between servers in one run: ``make bench``."""
