"""A capacity provider that keeps every clause of the contract, in memory or on disk.

It is what the conformance kit is measured with: `async with serving(core) as address` in process, or
`fake-provider serve` standalone. It knows nothing of the kit.
"""
