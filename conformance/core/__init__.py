"""Terms and values of the contract and the kit; imports nothing else of the kit."""
