"""The kit and the fake provider with real proxies between them."""
