"""What all services share: settings, errors, logging, metrics, health and the topic."""
