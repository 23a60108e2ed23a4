/*
 * A server's health as a pure machine: what checks found and what traffic met goes in, with the
 * time; the state, its reason and when the next check is due come out. No clock, no I/O, no
 * allocation; flat, so that it can be copied and replayed.
 *
 * Two things take a server out. Checks: `fall` failures in a row, or one refused connection, since
 * then nobody is there; `rise` passes bring it back. Traffic (the only judge where no check is
 * configured): some broken attempts in a row, or without checks a refused one, eject it for a time,
 * twice that the second time and so on; when the time is over it is tried again, and the next
 * failure ejects it at once.
 *
 * Deliberately not here: anything about the rest of the pool. The caller says whether the pool can
 * spare the server (health_conf.may_eject), and what to do when nothing is left is the view's
 * business.
 */
#pragma once

#include "shared/rng.h"
#include "shared/span.h"

/* name, word for people and the status socket, usable */
#define HEALTH_STATES(X)                                                               \
	X(UNKNOWN, "unknown", true)  /* not checked yet, or no check configured */     \
	X(UP, "up", true)	     /* the last check passed */                       \
	X(FAILING, "failing", true)  /* checks fail, not yet `fall` times */           \
	X(DOWN, "down", false)	     /* */                                             \
	X(RISING, "rising", false)   /* was down; checks pass, not yet `rise` times */ \
	X(EJECTED, "ejected", false) /* put aside for a while because traffic failed */
enum health_state {
#define X(name, text, usable) HEALTH_##name,
	HEALTH_STATES(X)
#undef X
};

#define HEALTH_EVENTS(X)                                                     \
	X(CHECK_PASSED)	   /* */                                             \
	X(CHECK_FAILED)	   /* anything but refused; the reason says what */  \
	X(CHECK_REFUSED)   /* nobody listens there */                        \
	X(TRAFFIC_REFUSED) /* a worker's connect was refused */              \
	X(TRAFFIC_BROKE)   /* as many attempts in a row broke as it takes */ \
	X(TIME_PASSED)	   /* what health_due_ns() asked for */
enum health_event_kind {
#define X(name) HEALTH_##name,
	HEALTH_EVENTS(X)
#undef X
};

struct health_event {
	enum health_event_kind kind;
	const char *reason;   /* for CHECK_FAILED, and what is known for TRAFFIC_BROKE; copied */
	uint64_t now_ns;      /* monotonic */
	uint64_t realtime_ns; /* for `since` */
};

struct health_conf {
	bool active;	  /* it is checked */
	const char *idle; /* why it is not; NULL: no check is configured */
	bool may_eject;	  /* the pool can spare this server */
	unsigned rise, fall;
	uint64_t every_ns;
	uint64_t eject_ns; /* the first ejection; the nth in close succession is n times as long */
};

struct health {
	enum health_state state;
	enum health_state below; /* of the checks, while EJECTED lies over it */
	unsigned count;		 /* FAILING: failures; RISING: passes */
	unsigned ejections;	 /* in close succession */
	bool refused;		 /* the last failure was: nobody is there */
	uint64_t since_ns;	 /* in this state; monotonic */
	uint64_t since_realtime_ns;
	uint64_t ejected_until_ns; /* of the last ejection */
	char reason[120];
};

/* What a step changed. */
enum health_change {
	HEALTH_SAME,
	HEALTH_MOVED, /* state or count: worth telling */
	HEALTH_TURNED /* who can be used changed too, or whether a last resort: views must be made
			 anew */
};

#define HEALTH_EJECT_MAX_NS UINT64_C(300000000000)
#define HEALTH_FAST_NS \
	UINT64_C(500000000) /* between checks while the verdict hangs in the balance */
#define HEALTH_BACK_SOON_NS \
	UINT64_C(30000000000) /* how long a refusing server is looked at that often */

void health_init(struct health *h, bool active, uint64_t now_ns, uint64_t realtime_ns);
enum health_change health_step(
	struct health *h, const struct health_conf *c, const struct health_event *ev);
/* The check was configured anew, or away, or into being: what no check upholds any more is
 * forgotten. */
enum health_change health_reconfigure(
	struct health *h, const struct health_conf *c, uint64_t now_ns, uint64_t realtime_ns);
/* Nobody has looked for a while: it is not used before checks have passed. */
enum health_change health_distrust(
	struct health *h, const char *why, uint64_t now_ns, uint64_t realtime_ns);
bool health_usable(const struct health *h);
/* From the end of one check to the next: `every`, sooner while in between, +-10 %. */
uint64_t health_check_delay_ns(
	const struct health *h, const struct health_conf *c, uint64_t now_ns, struct rng *rng);
/* When TIME_PASSED is wanted; 0: never. */
uint64_t health_due_ns(const struct health *h);
const char *health_state_name(enum health_state state);
/* "up", "failing 1/3", "rising 1/2", "ejected 20 s". Returns the length. */
size_t health_format(const struct health *h, const struct health_conf *c, uint64_t now_ns,
	char *out, size_t size);
