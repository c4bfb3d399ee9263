"""Pre-training of the shipped parts of the embedded study."""
