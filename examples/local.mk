# Build of examples/.
