"""Where items come from: folders, logs, cameras, simulations; shared by training, evaluation, scoring and the monitor."""
