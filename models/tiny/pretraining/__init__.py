"""How the shipped parts of the embedded study were pretrained."""
