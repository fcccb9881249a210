"""`make image`: the bento of the champions as a small, sealed, reproducible container image."""
