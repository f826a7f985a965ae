"""The protocol: it takes datagrams, packets and the time, and returns datagrams and packets."""
