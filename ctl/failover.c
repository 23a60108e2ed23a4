/*
 * tandemctl switchover, freeze, resume: orders to the failover agent. switchover waits until the
 * move shows in the agent's status, so that its exit code tells whether it happened.
 */
#include <unistd.h>

#include "ctl/ctl.h"
#include "shared/units.h"

enum { TIMEOUT_MS = 2000, MOVE_LIMIT_MS = 10000, LOOK_EVERY_US = 2000 };

static json_t *group_params(const struct ctl *c)
{
	return json_pack("{s:s*, s:s*}", "group", c->argument, "for", c->for_text);
}

/* --- switchover ------------------------------------------------------------------------------ */
/* The state of a group on the other node, as the agent last heard it. */
static const char *peer_state(const json_t *status, const char *group)
{
	const json_t *peer = json_object_get(status, "peer");
	const json_t *groups = json_object_get(peer, "groups");

	return groups ? text_at(groups, group) : text_at(peer, "state");
}

/* Has the group arrived at move.to? The state here is certain; the peer's is what it last said. */
static bool has_moved(const json_t *status, const char *group, const json_t *move)
{
	const char *here =
		text_at(json_object_get(json_object_get(status, "groups"), group), "state");

	if (strcmp(text_at(move, "to"), text_at(status, "node")) == 0)
		return strcmp(here, "ACTIVE") == 0;
	return strcmp(here, "ACTIVE") != 0 && strcmp(here, "HANDOVER") != 0 &&
	       strcmp(peer_state(status, group), "ACTIVE") == 0;
}

/* The order is not pursued any more. Why, as far as it is known here; NULL: it still is. */
static const char *given_up(const json_t *status, const char *group, const json_t *move)
{
	const json_t *g = json_object_get(json_object_get(status, "groups"), group);
	const char *here = text_at(g, "state");

	if (!json_is_false(json_object_get(g, "moving")))
		return NULL;
	if (strcmp(text_at(move, "to"), text_at(status, "node")) != 0)
		return strcmp(here, "ACTIVE") == 0 ? text_at(g, "reason") : NULL;
	return strcmp(here, "PROBING") != 0 ? "it was not handed over in time" : NULL;
}

/* Marks each accepted group that has arrived with the time it took, and one that will not with the
 * reason; how many are still under way. */
static unsigned look(const json_t *status, json_t *groups, uint64_t start_ns)
{
	const char *name, *why;
	json_t *move;
	unsigned under_way = 0;

	json_object_foreach (groups, name, move) {
		if (!json_is_true(json_object_get(move, "accepted")) ||
			json_object_get(move, "took_ms") || json_object_get(move, "given_up"))
			continue;
		if (has_moved(status, name, move))
			json_object_set_new(move, "took_ms",
				json_integer(
					(json_int_t)((monotonic_ns() - start_ns) / NS_PER_MS)));
		else if ((why = given_up(status, name, move)) != NULL)
			json_object_set_new(move, "given_up", json_string(why));
		else
			under_way++;
	}
	return under_way;
}

static int report_move(const struct ctl *c, const char *name, const json_t *move)
{
	const char *from = text_at(move, "from"), *to = text_at(move, "to");

	if (!json_is_true(json_object_get(move, "accepted"))) {
		complain("%s: refused: %s", name, text_at(move, "reason"));
		return REFUSED;
	}
	if (json_object_get(move, "given_up")) {
		complain("%s: %s did not take it from %s: %s", name, to, from,
			text_at(move, "given_up"));
		return REFUSED;
	}
	if (!json_object_get(move, "took_ms")) {
		complain("%s: %s did not take it from %s within 10 s: see tandemctl status", name,
			to, from);
		return REFUSED;
	}
	if (!c->json)
		fprintf(c->out, "%s: %s ACTIVE -> %s ACTIVE in %lld ms\n", name, from, to,
			(long long)int_at(move, "took_ms"));
	return DONE;
}

int verb_switchover(struct ctl *c)
{
	uint64_t start_ns = monotonic_ns();
	json_t *result = NULL, *groups, *move;
	const char *name;
	struct err err;
	int rc = ask_exit(
		ask(c, FAILOVER, "switchover", group_params(c), TIMEOUT_MS, &result, &err), &err);

	if (rc != DONE)
		return rc;
	groups = json_object_get(result, "groups");
	for (;;) {
		json_t *status = NULL;
		enum rpc_rc asked = ask(c, FAILOVER, "status", NULL, TIMEOUT_MS, &status, &err);
		unsigned under_way = look(status, groups, start_ns);

		json_decref(status);
		if (asked != RPC_OK) {
			json_decref(result);
			return ask_exit(asked, &err);
		}
		if (under_way == 0 || monotonic_ns() - start_ns > MOVE_LIMIT_MS * NS_PER_MS)
			break;
		usleep(LOOK_EVERY_US);
	}
	json_object_foreach (groups, name, move) {
		if (report_move(c, name, move) != DONE)
			rc = REFUSED;
	}
	if (c->json)
		print_json(c, json_incref(result));
	json_decref(result);
	return rc;
}

/* --- freeze, resume -------------------------------------------------------------------------- */
static int order(const struct ctl *c, const char *method, const char *done)
{
	json_t *result = NULL;
	struct err err;
	int rc = ask_exit(
		ask(c, FAILOVER, method, group_params(c), TIMEOUT_MS, &result, &err), &err);

	if (rc != DONE)
		return rc;
	if (c->json) {
		print_json(c, result);
		return DONE;
	}
	fprintf(c->out, "%s: %s%s%s\n", c->argument ? c->argument : "all groups", done,
		c->for_text ? " for " : "", c->for_text ? c->for_text : "");
	json_decref(result);
	return DONE;
}

int verb_freeze(struct ctl *c)
{
	return order(c, "freeze", c->for_text ? "frozen" : "frozen until 'tandemctl resume'");
}

int verb_resume(struct ctl *c)
{
	return order(c, "resume", "resumed");
}
