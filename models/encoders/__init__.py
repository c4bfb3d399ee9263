"""Vision encoders, one file a family: frames -> features."""
