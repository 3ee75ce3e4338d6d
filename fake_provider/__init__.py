"""A capacity provider that keeps every clause of the contract, in memory or on disk.

The conformance kit is tested against it. Run it in process with `async with serving(core) as address`, or standalone
with `fake-provider serve`. It does not import the kit.
"""
