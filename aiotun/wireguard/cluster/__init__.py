"""Several servers of one service: any of them takes any peer."""
