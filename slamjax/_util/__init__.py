"""Tools without a subject of their own: compilation, precision, linear algebra, files."""
