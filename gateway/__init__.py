"""The gateway: production traffic in, answers out; it routes by the running experiment and logs what happened."""
