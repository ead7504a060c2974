"""`make soak`: looks for faults for a while. Fuzzing of all parsers, mutants of the core, laws with new examples."""
