"""Survey files: one module per survey; `registry` decides which loader reads a file."""
