# Build of doc/.
