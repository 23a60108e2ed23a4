# Build of doc/.
dist_doc_DATA += doc/architecture.md doc/failover.md doc/shared.md doc/proxy.md doc/proxy-tls.md doc/proxy-pools.md doc/routing.md doc/ctl.md doc/tests.md doc/benchmark.md doc/operating.md doc/vrrp.md doc/monitoring.md doc/discovery.md
dist_man_MANS += doc/tandem-proxy.8 doc/tandem-failover.8 doc/tandemctl.1

# The reference of keys comes from the table that checks them.
noinst_PROGRAMS += doc/confdoc
doc_confdoc_SOURCES = doc/confdoc.c
doc_confdoc_LDADD = $(CORE_LIBS)
EXTRA_DIST += doc/tandem.yaml.5.in
nodist_man_MANS = doc/tandem.yaml.5
nodist_doc_DATA = doc/tandem.yaml.md
CLEANFILES += doc/tandem.yaml.5 doc/tandem.yaml.md doc/reference.tmp

doc/tandem.yaml.5: doc/tandem.yaml.5.in doc/confdoc$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && doc/confdoc$(EXEEXT) man >doc/reference.tmp && \
	$(SED) -e 's|@sysconfdir[@]|$(sysconfdir)|g' -e '/^@REFERENCE[@]$$/{' -e 'r doc/reference.tmp' -e 'd' -e '}' \
		$(srcdir)/doc/tandem.yaml.5.in >$@.tmp && mv $@.tmp $@ && rm -f doc/reference.tmp
doc/tandem.yaml.md: doc/confdoc$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && doc/confdoc$(EXEEXT) md >$@.tmp && mv $@.tmp $@
