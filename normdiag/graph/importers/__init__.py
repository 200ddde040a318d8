"""One importer for each framework: from its form of a computation to an OpGraph."""
