/*
 * What every daemon does at start and stop: common flags, signals through libev, the service
 * manager, and giving up privileges. Daemons stay in the foreground.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/err.h"
#include "shared/log.h"

struct daemon_options {
	const char *program;
	const char *config;    /* -c, --config; default SYSCONFDIR/tandem/tandem.yaml */
	const char *node;      /* --node; default the host name (owned by the module) */
	const char *run_dir;   /* --run-dir; default /run/tandem */
	const char *state_dir; /* --state-dir; default /var/lib/tandem */
	const char *user;      /* --user; default NULL: stay who we are */
	bool log_level_given;  /* --log-level was there: it wins over the file */
	bool log_debug_given;  /* the same of --debug */
	bool check;	       /* --check: validate and exit */
	bool witness;	       /* --witness, of tandem-failover: be the third box */
	char *const *argv;     /* all of it, with the program's name; borrows */
};

/* Parses the flags of both daemons (and the -h/--version output, given `about` and the `features`
 * line); returns -1 to go on, else the exit code: 0 after --help or --version, 2 on a wrong flag,
 * with words and the nearest flag on stderr. Opens the log. */
int daemon_parse(struct daemon_options *o, int argc, char **argv, const char *program,
	const char *about, const char *features);

/* What the file's log.level and log.debug (with commas between) say takes effect, each unless its
 * flag was given. */
void daemon_log_follow(const struct daemon_options *o, struct span level, struct span debug);

struct daemon_signals { /* embed; all are called on the loop */
	struct ev_loop *loop;
	void *ctx;
	void (*on_stop)(void *ctx);    /* SIGTERM, SIGINT */
	void (*on_reload)(void *ctx);  /* SIGHUP */
	void (*on_upgrade)(void *ctx); /* SIGUSR2; may be NULL */
	ev_signal term, intr, hup, usr2;
};
/* Also ignores SIGPIPE. */
void daemon_signals_start(struct daemon_signals *s);

/* sd_notify, a no-op outside systemd: READY=1, RELOADING=1 (with MONOTONIC_USEC), STOPPING=1,
 * STATUS=... */
void daemon_ready(void);
/* Another process is the daemon now, and what it says counts: MAINPID=... */
void daemon_succeeded_by(pid_t pid);
void daemon_reloading(void);
void daemon_stopping(void);
void daemon_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Half the watchdog interval that the service manager asked for, in seconds; 0 when none. */
double daemon_watchdog_interval(void);
void daemon_watchdog_beat(void);

/* Becomes `user` (its uid, gid, groups), keeps only the named capabilities (as permitted, effective
 * and ambient), sets no_new_privs. Nothing when user is NULL. */
int daemon_drop_privileges(
	const char *user, const int *capabilities, unsigned count, struct err *err);
/* Creates dir (mode) with its missing parents if needed. */
int daemon_make_dir(const char *dir, unsigned mode, struct err *err);
/* RLIMIT_NOFILE to its hard limit; returns the number of files now allowed. */
uint64_t daemon_raise_files(void);
