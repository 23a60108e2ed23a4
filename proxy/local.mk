# Build of proxy/.
