"""Programs that prepare data sets."""
