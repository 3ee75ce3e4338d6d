"""Everything that speaks to the provider: target, client, calls, backoff, proxies, faults."""
