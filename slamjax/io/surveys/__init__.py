"""Survey files: a module per survey; `registry` decides which reads a file."""
