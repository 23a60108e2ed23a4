# The examples are installed beside the README; the demo runs from the tree only.
examplesdir = $(docdir)/examples
dist_examples_DATA = examples/single.yaml examples/pair.yaml examples/site.yaml examples/postgres.yaml examples/autoscale.yaml
dist_examples_SCRIPTS = examples/postgres-check examples/scale-servers
EXTRA_DIST += examples/demo examples/demo.py
