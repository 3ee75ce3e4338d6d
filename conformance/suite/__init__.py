"""The behaviours, by area. `pytest --pyargs conformance.suite --target host:port` runs them."""
