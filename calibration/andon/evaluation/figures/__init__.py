"""Results for judged parts, pixels, windows and events, with their confidence intervals."""
