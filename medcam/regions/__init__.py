"""From evidence to regions with a size and a place."""
