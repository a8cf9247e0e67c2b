"""Other libraries at the same work: building batch requests and reading batch answers."""
