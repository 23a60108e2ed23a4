# ctl/: tandemctl. Everything but main is an archive, so that the tests can link it.
noinst_LIBRARIES += ctl/libctl.a
ctl_libctl_a_SOURCES = \
	ctl/certs.c \
	ctl/config.c \
	ctl/ctl.c ctl/ctl.h \
	ctl/dump.c \
	ctl/errors.c \
	ctl/events.c \
	ctl/explain.c \
	ctl/failover.c \
	ctl/pools.c \
	ctl/servers.c \
	ctl/status.c \
	ctl/table.c ctl/table.h \
	ctl/top.c
ctl_libctl_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
CTL_LIBS = ctl/libctl.a $(SHELL_LIBS)

bin_PROGRAMS += ctl/tandemctl
ctl_tandemctl_SOURCES = ctl/main.c
ctl_tandemctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
ctl_tandemctl_LDADD = $(CTL_LIBS)
