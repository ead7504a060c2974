"""What is caught, at what price in pages, beside simpler detectors: organisations and thefts that are generated."""
