# systemd/: units, and the fragments that make the user and the directories. Paths are known to make, not to
# configure, so that `make install prefix=...` is right too.
SYSTEMD_UNITS = systemd/tandem-failover.service systemd/tandem-proxy.service systemd/tandem-witness.service
SYSTEMD_TMPFILES = systemd/tmpfiles.d/tandem.conf
SYSTEMD_MADE = $(SYSTEMD_UNITS) $(SYSTEMD_TMPFILES)
EXTRA_DIST += $(SYSTEMD_MADE:=.in)
CLEANFILES += $(SYSTEMD_MADE)
nodist_systemdsystemunit_DATA = $(SYSTEMD_UNITS)
dist_systemdsystemunit_DATA = systemd/tandem.target
dist_sysusers_DATA = systemd/sysusers.d/tandem.conf
nodist_tmpfiles_DATA = $(SYSTEMD_TMPFILES)

$(SYSTEMD_MADE): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(SED) -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
		$(top_srcdir)/$@.in >$@.tmp && mv $@.tmp $@
