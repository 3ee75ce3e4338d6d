"""The reference of the contract, as a provider: in process or standalone. Knows nothing of the kit."""
