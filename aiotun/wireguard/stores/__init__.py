"""Where the peers and the configuration of an interface are kept."""
