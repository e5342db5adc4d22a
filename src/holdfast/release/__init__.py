"""Release: the immutable signed bundle that is deployed; written whole, verified byte by byte, compared as data."""
