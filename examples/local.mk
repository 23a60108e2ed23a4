# The examples are installed beside the README; the demo runs from the tree only.
examplesdir = $(docdir)/examples
dist_examples_DATA = examples/single.yaml examples/pair.yaml
EXTRA_DIST += examples/demo examples/demo.py
