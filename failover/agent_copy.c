/*
 * The agent's part in what the two nodes know of each other's clients and documents: between the
 * proxy's link on one side and the copy to the peer on the other.
 */
#include "failover/agent.h"
#include "shared/log.h"

/* --- clients -----------------------------------------------------------------------------------
 */
void agent_client(void *ctx, const struct client_key *k, bool there)
{
	struct agent *a = ctx;

	if (a->copy)
		peer_copy_client(a->copy, k, there);
}

/* --- documents ---------------------------------------------------------------------------------
 */
static void tell_state(struct agent *a, unsigned index)
{
	if (a->proxy.caller)
		(void)rpc_notify(
			a->rpc, a->proxy.caller, "state", json_incref(a->states.list[index].json));
}

static void on_peer_state(void *ctx, unsigned index)
{
	tell_state(ctx, index);
}

void agent_tell_states(struct agent *a)
{
	for (unsigned i = 0; i < a->states.count; i++)
		tell_state(a, i);
}

int agent_state(
	struct agent *a, const struct rpc_caller *who, const json_t *params, struct err *err)
{
	unsigned index;

	if (proxy_link_is(&a->proxy, who, err) != 0)
		return -1;
	switch (states_put(&a->states, params, &index, err)) {
	case STATES_NEWER:
		if (a->copy)
			peer_copy_state(a->copy, index);
		return 0;
	case STATES_KNOWN:
		return 0;
	case STATES_REFUSED:
		break;
	}
	log_event(LOG_WARNING, "proxy.state_refused", err->text);
	return err_prefix(err, "proxy.state");
}

/* --- the copy ----------------------------------------------------------------------------------
 */
void agent_open_copy(struct agent *a, const struct settings *s)
{
	struct peer_copy_options o = {.node = s->node_id,
		.peer = s->peer_id,
		.paths = s->paths,
		.path_count = s->path_count,
		.secret_count = s->secret_count,
		.own = a->proxy.clients,
		.own_known = a->proxy.clients_known,
		.theirs = a->peer_clients,
		.states = &a->states,
		.ctx = a,
		.on_state = on_peer_state};
	struct err err;

	peer_copy_free(a->copy);
	a->copy = NULL;
	for (unsigned i = 0; i < s->secret_count; i++)
		o.secrets[i] = s->secrets[i];
	/* VRRP alone needs no secret; without one nobody's word counts here. */
	if (s->peer_id == 0 || s->path_count == 0 || s->secret_count == 0)
		return;
	a->copy = peer_copy_new(a->loop, &o, &err);
	if (!a->copy)
		log_event(LOG_ERROR, "peer.copy_failed", err.text,
			F_TEXT("decision", "going on without a copy of the state"));
}
