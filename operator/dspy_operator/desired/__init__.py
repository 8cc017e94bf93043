"""Pure functions from a spec to the manifests that it wants. Golden tests pin every byte of them."""
