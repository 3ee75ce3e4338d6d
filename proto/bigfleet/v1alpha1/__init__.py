"""The contract, version v1alpha1: `provider.proto` and what is generated from it."""
