"""Sources of items: folders, logs, cameras and simulations. Training, evaluation, scoring and the monitor share them."""
