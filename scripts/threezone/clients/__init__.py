"""Typed clients for the programs that we start. Their argument lists occur only here."""
