"""Statistics: numbers in, numbers out. No I/O, no framework, no clock; randomness only from a handed-in generator."""
