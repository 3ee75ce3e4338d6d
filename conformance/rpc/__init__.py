"""Communication with the provider: target, client, calls, backoff, proxies, faults."""
