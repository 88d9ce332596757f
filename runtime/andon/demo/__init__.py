"""The demo: a simulated power converter, from training to monitoring."""
