"""WireGuard in namespaces: implementations beside each other, measured and in tests."""
