#include "failover/group.h"

#include <time.h>

#include "failover/agent.h"
#include "failover/group_hooks.h"
#include "failover/group_vrrp.h"
#include "failover/net/netlink_diag.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

/* The third announcement comes after a second. */
#define DRAIN_LEAST_NS (1200 * NS_PER_MS)
#define DRAIN_COUNT_NS (200 * NS_PER_MS)
/* Beneath this it may be the time between reading two clocks. */
#define SUSPENSION_LEAST_NS (5 * NS_PER_MS)

/* --- results -----------------------------------------------------------------------------------
 */
/* Results are events that wait until all actions of the step are done. */
static void result(struct group *g, enum fsm_event_kind kind)
{
	ASSERT(g->stepping && g->result_count < GROUP_RESULTS_MAX);
	g->results[g->result_count++] = (struct fsm_event){.kind = kind};
}

static void trouble(const struct group *g, const char *event, const struct err *err)
{
	log_event(LOG_WARNING, event, err->text, F_TEXT("group", g->settings.name));
}

/* --- addresses ---------------------------------------------------------------------------------
 */
static int set_addresses(struct group *g)
{
	uint64_t now_ns = monotonic_ns();
	struct err err;
	int rc = 0;

	for (unsigned i = 0; i < g->settings.vip_count; i++)
		if (g->link.ifindex == 0)
			rc = err_set(&err, "interface '%s' is not there", g->settings.interface);
		else if (netlink_address_set(g->agent->netlink, g->link.ifindex,
				 &g->settings.vips[i], &err) != 0)
			rc = -1;
	if (rc == 0)
		g->addressed_ns = now_ns;
	else
		trouble(g, "address.add", &err);
	return rc;
}

/* -1: not certain that it is gone. why: what to say if it was there; NULL: nothing. */
static int remove_address(struct group *g, const struct cidr *vip, const char *why)
{
	char text[ADDR_TEXT_MAX];
	bool removed = false;
	struct err err;

	if (g->link.ifindex == 0)
		return 0;
	if (netlink_address_remove(g->agent->netlink, g->link.ifindex, vip, &removed, &err) != 0) {
		trouble(g, "address.remove", &err);
		return -1;
	}
	cidr_format(vip, text);
	if (removed && why)
		log_event(LOG_WARNING, "address.foreign", why, F_TEXT("group", g->settings.name),
			F_TEXT("address", text), F_TEXT("interface", g->settings.interface));
	return 0;
}

static int remove_addresses(struct group *g, const char *why)
{
	int rc = 0;

	for (unsigned i = 0; i < g->settings.vip_count; i++)
		rc |= remove_address(g, &g->settings.vips[i], why);
	return rc;
}

static const struct cidr *find_vip(const struct group_settings *s, const struct cidr *address)
{
	for (unsigned i = 0; i < s->vip_count; i++)
		if (cidr_same_host(&s->vips[i], address))
			return &s->vips[i];
	return NULL;
}

static void announce(struct group *g)
{
	bool refused = false;
	struct err err;

	if (g->link.ifindex == 0 || !g->link.has_mac)
		return;
	if (announce_send(&g->agent->announce, g->link.ifindex, g->link.mac, g->settings.vips,
		    g->settings.vip_count, &refused, &err) != 0)
		trouble(g, refused ? "announce.refused" : "announce.failed", &err);
}

/* --- telling -----------------------------------------------------------------------------------
 */
void group_reason(const struct group *g, char *out, size_t size)
{
	enum fsm_reason reason = group_view(g, monotonic_ns()).reason;
	const char *words = fsm_reason_words(reason);

	if (reason == REASON_PROBE_SILENT && g->asked_why == REASON_PEER_SILENT)
		(void)snprintf(out, size, "%s for %u ms; %s", fsm_reason_words(g->asked_why),
			(unsigned)(g->fsm.config.times.silence_ns / NS_PER_MS), words);
	else if (reason == REASON_PROBE_SILENT)
		(void)snprintf(out, size, "%s; %s", fsm_reason_words(g->asked_why), words);
	else
		(void)snprintf(out, size, "%s", words);
}

static void tell_state(struct group *g, const struct fsm_action *a)
{
	char words[160];

	if (a->to == FSM_PROBING)
		g->asked_why = a->reason;
	g->since_realtime_ns = realtime_ns();
	g->transitions[a->reason]++;
	group_reason(g, words, sizeof(words));
	log_event(LOG_NOTICE, "group.state", words, F_TEXT("group", g->settings.name),
		F_TEXT("from", fsm_state_name(a->from)), F_TEXT("to", fsm_state_name(a->to)),
		F_TEXT("reason", fsm_reason_name(a->reason)),
		F_INT("epoch", group_view(g, monotonic_ns()).epoch));
	rpc_publish(g->agent->rpc, "group.state",
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "node", g->agent->settings->node,
			"group", g->settings.name, "from", fsm_state_name(a->from), "to",
			fsm_state_name(a->to), "reason", fsm_reason_name(a->reason), "words", words,
			"epoch", (json_int_t)group_view(g, monotonic_ns()).epoch));
	agent_tell_role(g->agent);
	group_hooks_state(g, a);
	if (a->to == FSM_ACTIVE && a->from == FSM_PROBING)
		alert(g->agent->alerts, ALERT_FAILOVER, g->settings.name, true, words);
}

static void tell_alarm(struct group *g, const struct fsm_action *a)
{
	char subject[ALERT_SUBJECT_MAX];

	(void)snprintf(
		subject, sizeof(subject), "%s/%s", g->settings.name, fsm_alarm_name(a->alarm));
	alert(g->agent->alerts, ALERT_FAILOVER_ALARM, subject, a->on, fsm_alarm_words(a->alarm));
	log_event(a->on ? LOG_WARNING : LOG_NOTICE, "group.alarm", fsm_alarm_words(a->alarm),
		F_TEXT("group", g->settings.name), F_TEXT("alarm", fsm_alarm_name(a->alarm)),
		F_BOOL("on", a->on));
	rpc_publish(g->agent->rpc, "group.alarm",
		json_pack("{s:s, s:s, s:b, s:s}", "group", g->settings.name, "alarm",
			fsm_alarm_name(a->alarm), "on", a->on, "words", fsm_alarm_words(a->alarm)));
}

/* Held up between the decision and here for longer than the addresses live, they are gone, and may
 * be the peer's by now: then a refresh would add them (see fsm.h). */
static void refresh_addresses(struct group *g)
{
	if (monotonic_ns() - g->addressed_ns >= FSM_ADDRESS_LIFE_NS)
		result(g, FSM_EV_ADDRESS_DELETED);
	else if (set_addresses(g) != 0)
		result(g, FSM_EV_ADDRESS_FAILED);
}

/* --- actions -----------------------------------------------------------------------------------
 */
static void start_probe(struct group *g)
{
	struct err err;

	g->asking = true;
	if (probe_start(&g->probe, g->fsm.config.times.probe_ns / NS_PER_MS, &err) == 0) {
		result(g, FSM_EV_PROBE_SENT);
		return;
	}
	g->asking = false;
	trouble(g, "probe.failed", &err);
	result(g, FSM_EV_PROBE_FAILED);
}

static void store_epoch(struct group *g, uint64_t epoch)
{
	struct err err;

	if (epoch_store_put(g->agent->epochs, g->settings.name, epoch, &err) == 0)
		return;
	trouble(g, "epoch.failed", &err);
	result(g, FSM_EV_EPOCH_FAILED);
}

/* Whoever has a lease must answer the peer's probe, also when it is frozen right after its claim:
 * the addresses come first. */
static bool claim(struct group *g, const struct fsm_action *a, uint64_t now_ns)
{
	bool early = fence_has_rules(&g->fence);

	if (now_ns > g->claim_until_ns)
		return false;
	g->holding = g->holding || early;
	if ((!early || set_addresses(g) == 0) && fence_pass(g, a, now_ns))
		return true;
	g->holding = false;
	(void)remove_addresses(g, NULL);
	return false;
}

/* An owner speaks only with a lease: elsewhere too nobody hears of it before the kernel agrees. */
static void send_packet(struct group *g, const struct fsm_action *a)
{
	uint64_t now_ns = monotonic_ns();
	bool claims = a->packet == PACKET_CLAIM, owner = claims || a->packet == PACKET_ACTIVE;

	if (owner && !(claims ? claim(g, a, now_ns) : fence_pass(g, a, now_ns))) {
		result(g, claims ? FSM_EV_CLAIM_REFUSED : FSM_EV_LEASE_REFUSED);
		return;
	}
	if (!g->vrrp)
		agent_send(g->agent, g, a, now_ns,
			owner ? fence_other_paths(g) : g->settings.path_mask);
	else if (!owner)
		(void)group_vrrp_send(g, a);
	else if (g->vrrp->unheard)
		result(g, FSM_EV_UNHEARD);
	if (claims)
		result(g, FSM_EV_CLAIMED);
}

/* The lease goes first: from then on nobody reaches the addresses here, gone or not. */
static void lose_addresses(struct group *g)
{
	bool fenced, removed;

	g->holding = false;
	fenced = fence_drop(g);
	removed = remove_addresses(g, NULL) == 0;
	result(g, fenced || removed ? FSM_EV_ADDRESS_REMOVED : FSM_EV_ADDRESS_STUCK);
}

static void load_rules(struct group *g)
{
	struct err err;

	if (fence_load_chance(g, &err) == 0) {
		result(g, FSM_EV_RULES_LOADED);
		return;
	}
	trouble(g, "fence.chance", &err);
	result(g, FSM_EV_RULES_FAILED);
}

/* Without rules an address that leaves takes its connections along: nothing is left to wait for. */
static void start_draining(struct group *g)
{
	proxy_link_drain(&g->agent->proxy, g->settings.vips, g->settings.vip_count,
		g->leaving ? g->fsm.config.stop_drain_ns : g->fsm.config.drain_ns);
	fence_drain(g, true);
	if (fence_has_rules(&g->fence))
		g->draining_ns = monotonic_ns();
	else
		result(g, FSM_EV_DRAINED);
}

static void stop_draining(struct group *g)
{
	g->draining_ns = 0;
	proxy_link_undrain(&g->agent->proxy, g->settings.vips, g->settings.vip_count);
	fence_drain(g, false);
}

static void ask_host(struct group *g)
{
	struct err err;

	if (g->fence.path >= 0 &&
		probe_start(&g->host, g->fsm.config.times.probe_ns / NS_PER_MS, &err) == 0)
		return;
	/* Who cannot be asked is taken for alive. */
	result(g, FSM_EV_PEER_HOST);
}

static void ask_hook(struct group *g, const struct fsm_action *a, enum fsm_event_kind refusal)
{
	if (group_hooks_ask(g, a))
		return;
	result(g, refusal);
	g->results[g->result_count - 1].ticket = a->ticket;
}

static void perform(struct group *g, const struct fsm_action *a)
{
	switch (a->kind) {
	case FSM_DO_SEND:
		send_packet(g, a);
		break;
	case FSM_DO_PROBE_START:
		start_probe(g);
		break;
	case FSM_DO_PROBE_STOP:
		g->asking = false;
		probe_stop(&g->probe);
		break;
	case FSM_DO_STORE_EPOCH:
		store_epoch(g, a->epoch);
		break;
	case FSM_DO_OPEN_CLAIM:
		witness_ask_no_more(g); /* of another round; a new one comes after this */
		g->claim_until_ns = a->at_ns;
		fence_open(g, a->at_ns);
		break;
	case FSM_DO_CLOSE_CLAIM:
		witness_ask_no_more(g);
		g->claim_until_ns = 0;
		fence_close(g);
		break;
	case FSM_DO_ADD_ADDRESSES:
		g->holding = true;
		result(g, set_addresses(g) == 0 ? FSM_EV_ADDRESS_ADDED : FSM_EV_ADDRESS_FAILED);
		break;
	case FSM_DO_REFRESH_ADDRESSES:
		refresh_addresses(g);
		break;
	case FSM_DO_REMOVE_ADDRESSES:
		tickle_stop(&g->agent->tickle, g->settings.vips, g->settings.vip_count);
		lose_addresses(g);
		break;
	case FSM_DO_ANNOUNCE:
		announce(g);
		break;
	case FSM_DO_LOAD_RULES:
		load_rules(g);
		break;
	case FSM_DO_UNLOAD_RULES:
		fence_unload_chance(g);
		break;
	case FSM_DO_SET_DRAIN:
		start_draining(g);
		break;
	case FSM_DO_CLEAR_DRAIN:
		stop_draining(g);
		break;
	case FSM_DO_TICKLE:
		tickle_start(&g->agent->tickle, g->agent->peer_clients, g->settings.vips,
			g->settings.vip_count);
		break;
	case FSM_DO_ASK_PEER:
		ask_host(g);
		break;
	case FSM_DO_FENCE_PEER:
		ask_hook(g, a, FSM_EV_PEER_FENCED);
		break;
	case FSM_DO_CLAIM_HOOK:
		ask_hook(g, a, FSM_EV_CLAIM_HOOKED);
		break;
	case FSM_DO_ASK_WITNESS:
		witness_ask_for(g, a->ticket, a->epoch);
		break;
	case FSM_DO_TELL:
		tell_state(g, a);
		break;
	case FSM_DO_ALARM:
		tell_alarm(g, a);
		break;
	case FSM_DO_STOPPED:
		g->stopped = true;
		break;
	}
}

static void arm(struct group *g, uint64_t next_ns)
{
	uint64_t now_ns = monotonic_ns();

	ev_timer_stop(g->agent->loop, &g->tick);
	if (g->stopped)
		return;
	ev_timer_set(&g->tick, next_ns > now_ns ? (double)(next_ns - now_ns) / 1e9 : 0., 0.);
	ev_timer_start(g->agent->loop, &g->tick);
}

static void perform_all(struct group *g, const struct fsm_actions *actions)
{
	for (uint32_t i = 0; i < actions->count; i++)
		perform(g, &actions->list[i]);
	arm(g, actions->next_ns);
}

static void step(struct group *g, const struct fsm_event *ev)
{
	struct fsm_actions actions;

	if (ev->kind != FSM_EV_TICK && ev->kind != FSM_EV_PACKET)
		log_event(LOG_DEBUG, "fsm.event", fsm_event_name(ev->kind),
			F_TEXT("group", g->settings.name));
	if (g->vrrp)
		vrrp_step(&g->vrrp->machine, ev, monotonic_ns(), &actions);
	else
		fsm_step(&g->fsm, ev, monotonic_ns(), &actions);
	perform_all(g, &actions);
}

static void settle(struct group *g)
{
	struct fsm_event next;

	while (g->result_count > 0) {
		next = g->results[0];
		g->result_count--;
		memmove(&g->results[0], &g->results[1], g->result_count * sizeof(g->results[0]));
		step(g, &next);
	}
	g->stepping = false;
}

void group_event(struct group *g, const struct fsm_event *ev)
{
	ASSERT(!g->stepping);
	g->stepping = true;
	step(g, ev);
	settle(g);
}

void group_perform(struct group *g, const struct fsm_actions *actions)
{
	ASSERT(!g->stepping);
	g->stepping = true;
	perform_all(g, actions);
	settle(g);
}

static void event(struct group *g, enum fsm_event_kind kind)
{
	group_event(g, &(struct fsm_event){.kind = kind});
}

/* How long the machine was suspended in all: two clocks read at one moment. Being held up between
 * them would look the same, so they are read again; false: at the next heartbeat. */
static bool suspended(uint64_t *ret_ns)
{
	uint64_t before_ns, after_ns;
	struct timespec t;

	for (int tries = 0; tries < 3; tries++) {
		before_ns = monotonic_ns();
		(void)clock_gettime(CLOCK_BOOTTIME, &t); /* never behind the monotonic one */
		after_ns = monotonic_ns();
		if (after_ns - before_ns >= SUSPENSION_LEAST_NS / 2)
			continue;
		*ret_ns = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - before_ns;
		return true;
	}
	return false;
}

/* A suspended machine's clock stands still: what was in force before may not be any more. */
static void notice_suspension(struct group *g)
{
	uint64_t before_ns = g->suspended_ns;

	if (!suspended(&g->suspended_ns) || before_ns == 0 ||
		g->suspended_ns < before_ns + SUSPENSION_LEAST_NS)
		return;
	group_event(g,
		&(struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = g->suspended_ns - before_ns});
}

/* Not before clients had the time to hear where the address is now: what they had sent already is
 * part of what drains. */
static void notice_drained(struct group *g, uint64_t now_ns)
{
	bool any = true;
	struct err err;

	if (g->draining_ns == 0 || now_ns - g->draining_ns < DRAIN_LEAST_NS ||
		now_ns - g->counted_ns < DRAIN_COUNT_NS ||
		!proxy_link_drained(&g->agent->proxy, g->settings.vips, g->settings.vip_count))
		return;
	/* The kernel has the last word, and is not asked for all its sockets before. */
	g->counted_ns = now_ns;
	if (netlink_diag_any(g->settings.vips, g->settings.vip_count, &any, &err) != 0)
		trouble(g, "fence.connections", &err);
	if (any)
		return;
	g->draining_ns = 0;
	event(g, FSM_EV_DRAINED);
}

/* kept: an owner has its lease still. */
static void judge_fence(struct group *g, bool kept)
{
	bool good = g->fence.mode != FENCE_NONE;
	bool unfenced = g->vrrp ? g->vrrp->machine.unfenced : g->fsm.unfenced;

	if (g->link.ifindex != 0 && good == unfenced)
		group_event(g, &(struct fsm_event){.kind = FSM_EV_FENCE, .good = good});
	if (!kept)
		event(g, FSM_EV_LEASE_REFUSED);
}

static void on_tick(EV_P_ ev_timer *w, int revents)
{
	struct group *g = container_of(w, struct group, tick);
	uint64_t now_ns = monotonic_ns();
	struct group_view view = group_view(g, now_ns);
	uint64_t late_ns = now_ns > view.next_ns ? now_ns - view.next_ns : 0;

	(void)loop, (void)revents;
	if (late_ns > view.lease_ns / 4)
		log_event(LOG_WARNING, "agent.late",
			"this process was held up: the machine is too busy",
			F_TEXT("group", g->settings.name), F_INT("late_ms", late_ns / NS_PER_MS));
	notice_suspension(g);
	agent_drain(g->agent);
	if (g->vrrp)
		group_vrrp_retry(g);
	now_ns = monotonic_ns(); /* draining may have taken a while, and may have brought steps */
	judge_fence(g, fence_check(g, now_ns));
	notice_drained(g, now_ns);
	now_ns = monotonic_ns(); /* the loop's clock may be a little ahead */
	view = group_view(g, now_ns);
	if (now_ns < view.next_ns)
		arm(g, view.next_ns);
	else
		event(g, FSM_EV_TICK);
}

/* --- what was heard on the client network ------------------------------------------------------
 */
#define MAC_TEXT_MAX 18

static void format_mac(const uint8_t mac[FRAME_MAC_LEN], char out[MAC_TEXT_MAX])
{
	(void)snprintf(out, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
}

static void on_claim(void *ctx, const struct frame_said *said)
{
	struct group *g = ctx;
	char address[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	cidr_format(&said->address, address);
	format_mac(said->mac, mac);
	if (g->asking) {
		log_event(LOG_INFO, "probe.answered", "the address is in use",
			F_TEXT("group", g->settings.name), F_TEXT("address", address),
			F_TEXT("mac", mac));
		group_event(
			g, &(struct fsm_event){.kind = FSM_EV_PROBE_ANSWERED,
				   .good = agent_is_peer(g->agent, g->link.ifindex, said->mac)});
		return;
	}
	if (!g->holding || agent_is_peer(g->agent, g->link.ifindex, said->mac))
		return;
	log_event(LOG_WARNING, "address.conflict", "somebody else uses an address of ours",
		F_TEXT("group", g->settings.name), F_TEXT("address", address), F_TEXT("mac", mac));
	rpc_publish(g->agent->rpc, "address.conflict",
		json_pack("{s:s, s:s, s:s}", "group", g->settings.name, "address", address, "mac",
			mac));
	event(g, FSM_EV_ADDRESS_CONFLICT);
}

/* Without the peer's MAC on this network nobody can be told from it. */
static void on_probe(void *ctx, const struct frame_said *said)
{
	struct group *g = ctx;
	bool good = !g->fence.peer_mac_known || agent_is_peer(g->agent, g->link.ifindex, said->mac);
	char address[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	if (!good && !g->vrrp && !group_owns(g)) {
		cidr_format(&said->address, address);
		format_mac(said->mac, mac);
		log_event(LOG_WARNING, "address.asked_for",
			"somebody who is not the peer asks whether an address is free, as before "
			"taking it: no claim meanwhile",
			F_TEXT("group", g->settings.name), F_TEXT("address", address),
			F_TEXT("mac", mac));
	}
	group_event(g, &(struct fsm_event){.kind = FSM_EV_PEER_PROBE, .good = good});
}

static void on_host_claim(void *ctx, const struct frame_said *said)
{
	(void)said;
	event(ctx, FSM_EV_PEER_HOST);
}

static void on_host_probe(void *ctx, const struct frame_said *said)
{
	(void)ctx, (void)said; /* it only wants to know whether it is alone */
}

/* As if it could not be asked. */
static void on_host_failed(void *ctx, const struct err *err)
{
	trouble(ctx, "probe.failed", err);
	event(ctx, FSM_EV_PEER_HOST);
}

static void on_probe_failed(void *ctx, const struct err *err)
{
	struct group *g = ctx;

	trouble(g, "probe.failed", err);
	if (!g->asking)
		return;
	g->asking = false;
	event(g, FSM_EV_PROBE_FAILED);
}

_Static_assert(FSM_GATEWAY_NS > GATEWAY_ASK_MS * NS_PER_MS, "the other node asks once more");

static void on_gateway(void *ctx, bool good)
{
	struct group *g = ctx;

	log_event(good ? LOG_NOTICE : LOG_WARNING, "gateway.state",
		good ? "the gateway answers" : "the gateway does not answer",
		F_TEXT("group", g->settings.name));
	group_event(g, &(struct fsm_event){.kind = FSM_EV_GATEWAY, .good = good});
}

/* --- what the kernel says ----------------------------------------------------------------------
 */
static void listen_to_host(struct group *g)
{
	const struct addr *peer;
	struct cidr host = {0};
	struct err err;

	if (g->fence.path < 0) {
		probe_deafen(&g->host);
		return;
	}
	peer = &g->agent->settings->paths[g->fence.path].peer;
	host.family = peer->sa.sa_family;
	host.bits = host.family == AF_INET ? 32 : 128;
	if (host.family == AF_INET)
		memcpy(host.bytes, &peer->in.sin_addr, 4);
	else
		memcpy(host.bytes, &peer->in6.sin6_addr, 16);
	if (probe_listen(&g->host, g->link.ifindex, g->link.mac, &host, 1, &err) != 0)
		trouble(g, "probe.failed", &err);
}

static void listen_up(struct group *g)
{
	struct err err;

	/* Answers on their way get lost with the socket: what was asked proves nothing. */
	if (g->asking) {
		g->asking = false;
		event(g, FSM_EV_PROBE_FAILED);
	}
	if (probe_listen(&g->probe, g->link.ifindex, g->link.mac, g->settings.vips,
		    g->settings.vip_count, &err) != 0)
		trouble(g, "probe.failed", &err);
	listen_to_host(g);
	if (g->agent->settings->has_gateway &&
		gateway_watch(&g->gateway, &g->agent->settings->gateway, g->link.ifindex,
			g->link.mac, &err) != 0)
		trouble(g, "gateway.failed", &err);
}

static void set_up_fence(struct group *g)
{
	judge_fence(g, fence_set_up(g));
}

void group_link(struct group *g, const struct netlink_link *link)
{
	bool moved = link->ifindex != g->link.ifindex ||
		     memcmp(link->mac, g->link.mac, sizeof(link->mac)) != 0;
	bool carrier = link->carrier && link->has_mac;

	if (carrier != (g->link.carrier && g->link.has_mac) || moved)
		log_event(LOG_NOTICE, "link.state",
			link->ifindex ? "interface changed" : "interface is gone",
			F_TEXT("group", g->settings.name),
			F_TEXT("interface", g->settings.interface), F_INT("ifindex", link->ifindex),
			F_BOOL("carrier", link->carrier));
	/* A renamed interface keeps its addresses: off with them before the peer may have them. */
	if (link->ifindex != g->link.ifindex && g->holding)
		(void)remove_addresses(g, NULL);
	g->link = *link;
	if (moved)
		set_up_fence(g);
	if (moved && link->ifindex == 0) {
		g->asking = false;
		probe_deafen(&g->probe);
		probe_deafen(&g->host);
		gateway_forget(&g->gateway);
	} else if (moved) {
		if (!g->holding)
			(void)remove_addresses(g, "left-over address removed");
		listen_up(g);
	}
	if (g->vrrp)
		carrier = group_vrrp_link(g) && carrier;
	group_event(g, &(struct fsm_event){.kind = FSM_EV_LINK, .good = carrier});
	/* Neighbours know the old MAC. */
	if (moved && g->holding)
		announce(g);
}

/* A notification may be older than our last command: the kernel is asked how it is now. */
static bool is_there(struct group *g, const struct cidr *vip)
{
	struct err err;
	bool there = true; /* what an unanswered question leaves in place */

	if (netlink_address_there(g->agent->netlink, g->link.ifindex, vip, &there, &err) != 0)
		trouble(g, "address.look", &err);
	return there;
}

static void check_address(struct group *g, const struct cidr *vip)
{
	char text[ADDR_TEXT_MAX];

	if (g->holding && !is_there(g, vip)) {
		cidr_format(vip, text);
		log_event(LOG_WARNING, "address.deleted",
			"somebody deleted an address of ours: adding it again",
			F_TEXT("group", g->settings.name), F_TEXT("address", text));
		event(g, FSM_EV_ADDRESS_DELETED);
	} else if (!g->holding) {
		(void)remove_address(
			g, vip, "an address that this node may not have now was added: removed");
	}
}

void group_address(
	struct group *g, int ifindex, const struct cidr *address, bool there, bool dad_failed)
{
	const struct cidr *vip = find_vip(&g->settings, address);

	if (g->vrrp && !vip)
		vrrp_port_addresses_changed(&g->vrrp->port);
	if (vip && ifindex == NETLINK_LOOPBACK && !there)
		fence_keep(g);
	if (ifindex != 0 && ifindex == g->link.ifindex && agent_has_path(g->agent, address)) {
		set_up_fence(g);
		listen_to_host(g);
	}
	if (there && ifindex != g->link.ifindex)
		fence_guard(g, ifindex, address);
	if (!vip || ifindex == 0 || ifindex != g->link.ifindex)
		return;
	if (there && dad_failed && g->holding)
		event(g, FSM_EV_ADDRESS_CONFLICT);
	else if (there != g->holding)
		check_address(g, vip);
}

void group_resync(struct group *g)
{
	if (g->link.ifindex == 0)
		return;
	fence_keep(g);
	for (unsigned i = 0; i < g->settings.vip_count; i++)
		check_address(g, &g->settings.vips[i]);
}

/* --- what the agent says -----------------------------------------------------------------------
 */
void group_proxy(struct group *g, enum fsm_proxy proxy)
{
	if (group_view(g, monotonic_ns()).proxy != proxy)
		group_event(g, &(struct fsm_event){.kind = FSM_EV_PROXY, .proxy = proxy});
}

void group_beat(struct group *g)
{
	if (!g->vrrp) /* what is known already changes nothing, and is said */
		group_event(g, &(struct fsm_event){.kind = FSM_EV_GATEWAY, .good = g->fsm.gateway});
}

void group_stop(struct group *g)
{
	if (g->leaving)
		return;
	g->leaving = true;
	event(g, FSM_EV_STOP);
}

void group_paths_changed(struct group *g)
{
	/* Without any group that speaks our protocol there are none. */
	g->settings.path_mask = paths_count(g->agent->paths) ? ~UINT32_C(0) : 0;
	set_up_fence(g);
	if (g->link.ifindex != 0)
		listen_to_host(g);
}

bool group_owns(const struct group *g)
{
	if (g->vrrp)
		return g->vrrp->machine.state == FSM_ACTIVE;
	return g->fsm.state == FSM_ACTIVE || (g->fsm.state == FSM_HANDOVER && g->holding);
}

enum fsm_reason group_switchover_check(const struct group *g, uint64_t now_ns)
{
	return g->vrrp ? vrrp_switchover_check(&g->vrrp->machine, now_ns)
		       : fsm_switchover_check(&g->fsm, now_ns);
}

struct group_view group_view(const struct group *g, uint64_t now_ns)
{
	const struct fsm *m = &g->fsm;

	if (g->vrrp)
		return group_vrrp_view(g, now_ns);
	return (struct group_view){.state = m->state,
		.reason = m->reason,
		.epoch = m->epoch,
		.next_ns = m->next_ns,
		.lease_ns = m->config.times.lease_ns,
		.sent_ns = m->sent_ns,
		.frozen = m->frozen,
		.moving = m->want != REASON_NONE || m->state == FSM_HANDOVER,
		.link = m->link,
		.gateway = m->gateway,
		.proxy = m->proxy,
		.alarms = m->alarms,
		.peer_known = m->peer.boot_id != 0,
		.peer_alive = fsm_peer_alive(m, now_ns),
		.peer_state = m->peer.state};
}

void group_drain(struct group *g)
{
	probe_drain(&g->probe);
	probe_drain(&g->host);
	if (g->vrrp)
		vrrp_port_drain(&g->vrrp->port);
}

/* --- life --------------------------------------------------------------------------------------
 */
static struct fsm_config config_of(const struct agent *a, const struct group_settings *s)
{
	return (struct fsm_config){.times = a->settings->times,
		.node = a->settings->node_id,
		.peer = a->settings->peer_id,
		.prefer = s->prefer,
		.group = s->vrid,
		.failback_ns = s->failback_ns,
		.drain_ns = a->settings->drain_ns,
		.stop_drain_ns = a->settings->stop_drain_ns,
		.witness = a->settings->has_witness,
		.fence_hook = s->hooks[HOOK_FENCE].count > 0,
		.claim_hook = s->hooks[HOOK_CLAIM].count > 0};
}

static uint64_t stored_epoch(struct group *g)
{
	struct err err;
	uint64_t epoch = 0;

	if (epoch_store_get(g->agent->epochs, g->settings.name, &epoch, &err) == 0)
		return epoch;
	log_event(LOG_WARNING, "epoch.unreadable", err.text, F_TEXT("group", g->settings.name),
		F_TEXT("decision", "starting from 0: the peer's epoch is taken when it is heard"));
	return 0;
}

struct group *group_new(struct agent *agent, const struct group_settings *settings, struct err *err)
{
	struct probe_handlers handlers = {
		.on_claim = on_claim, .on_probe = on_probe, .on_failed = on_probe_failed};
	struct probe_handlers host = {
		.on_claim = on_host_claim, .on_probe = on_host_probe, .on_failed = on_host_failed};
	struct group *g = calloc(1, sizeof(*g));
	struct fsm_config config = config_of(agent, settings);
	struct netlink_link link;

	if (!g) {
		err_set_errno(err, "group '%s'", settings->name);
		return NULL;
	}
	handlers.ctx = host.ctx = g;
	list_init(&g->in_agent);
	g->agent = agent;
	g->settings = *settings;
	g->since_realtime_ns = realtime_ns();
	ev_init(&g->tick, on_tick);
	fence_init(&g->fence, settings);
	probe_init(&g->probe, agent->loop, &agent->announce, &handlers);
	g->probe.before_filter = true;
	probe_init(&g->host, agent->loop, &agent->announce, &host);
	gateway_init(&g->gateway, agent->loop, &agent->announce, g, on_gateway);
	if (netlink_watch(agent->netlink, settings->interface, &link, err) != 0) {
		free(g);
		return NULL;
	}
	if (settings->speaks_vrrp && group_vrrp_new(g, err) != 0) {
		free(g);
		return NULL;
	}
	if (!g->vrrp)
		fsm_init(&g->fsm, &config, stored_epoch(g), monotonic_ns());
	event(g, FSM_EV_TICK);
	group_link(g, &link);
	if (!agent->settings->has_gateway)
		group_event(g, &(struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true});
	return g;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	list_remove(&g->in_agent);
	ev_timer_stop(g->agent->loop, &g->tick);
	witness_ask_no_more(g);
	if (g->holding)
		(void)remove_addresses(g, NULL);
	fence_fini(g);
	probe_fini(&g->probe);
	probe_fini(&g->host);
	gateway_fini(&g->gateway);
	group_vrrp_free(g);
	free(g);
}

void group_apply(struct group *g, const struct group_settings *settings)
{
	struct group_settings old = g->settings;
	struct fsm_config config = config_of(g->agent, settings);

	ASSERT(old.vrid == settings->vrid && strcmp(old.interface, settings->interface) == 0);
	g->settings = *settings;
	if (g->vrrp)
		group_vrrp_apply(g);
	else
		fsm_configure(&g->fsm, &config, monotonic_ns());
	for (unsigned i = 0; i < old.vip_count; i++) {
		if (find_vip(settings, &old.vips[i]))
			continue;
		if (g->holding)
			(void)remove_address(g, &old.vips[i], NULL);
		fence_forget(g, &old.vips[i]);
	}
	set_up_fence(g);
	if (g->link.ifindex != 0)
		listen_up(g);
	if (g->agent->settings->has_gateway) {
		/* A gateway that is newly watched has its time to answer. */
		g->gateway.good = group_view(g, monotonic_ns()).gateway;
	} else {
		gateway_fini(&g->gateway);
		group_event(g, &(struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true});
	}
	group_beat(g);
	if (!g->holding) {
		(void)remove_addresses(g, "left-over address removed");
	} else if (set_addresses(g) == 0) {
		announce(g);
	}
}
