"""One module per kind: observe, build the desired object, apply it, write the status where it changed."""
