"""Judges gRPC capacity providers by their contract."""
