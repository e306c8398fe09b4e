"""What both services share: the event contract, settings, errors, logging, metrics and the topic."""
