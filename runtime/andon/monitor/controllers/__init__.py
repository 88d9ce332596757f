"""Controllers that read the state and the results of lines, one module each."""
