"""Connections out of a TUN: ours beside other programs that terminate them."""
