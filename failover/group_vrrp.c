#include "failover/group_vrrp.h"

#include <stdlib.h>

#include "failover/agent.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

static void address_text(const struct vrrp_envelope *e, char out[ADDR_TEXT_MAX])
{
	struct addr a = {.in6 = {0}};

	a.sa.sa_family = e->family;
	if (e->family == AF_INET)
		memcpy(&a.in.sin_addr, e->from, sizeof(a.in.sin_addr));
	else
		memcpy(&a.in6.sin6_addr, e->from, sizeof(a.in6.sin6_addr));
	addr_format_ip(&a, out);
}

/* --- hearing -----------------------------------------------------------------------------------
 */
/* A group with addresses of both families is one virtual router to us, and a tie must have one
 * answer: that of IPv4. */
static enum vrrp_tie tie(const struct group *g, sa_family_t family, int compared)
{
	if (family == AF_INET6)
		for (unsigned i = 0; i < g->settings.vip_count; i++)
			if (g->settings.vips[i].family == AF_INET)
				return VRRP_TIE_ELSEWHERE;
	return compared > 0 ? VRRP_TIE_THEIRS : VRRP_TIE_OURS;
}

static void on_advert(
	void *ctx, const struct vrrp_envelope *e, const struct vrrp_packet *p, int compared)
{
	struct group *g = ctx;
	struct vrrp_heard heard = {.priority = p->priority,
		.interval_ns = p->interval_cs * VRRP_CS_NS,
		.tie = tie(g, e->family, compared)};
	struct fsm_actions actions;

	if (g->stopped)
		return;
	g->vrrp->heard = *e;
	vrrp_hear(&g->vrrp->machine, &heard, monotonic_ns(), &actions);
	group_perform(g, &actions);
}

static void on_odd(void *ctx, const struct vrrp_envelope *e, enum vrrp_verdict verdict)
{
	const struct group *g = ctx;
	char from[ADDR_TEXT_MAX];

	address_text(e, from);
	if (verdict == VRRP_OK)
		log_event(LOG_WARNING, "vrrp.addresses",
			"the peer advertises other addresses than this group has: the two files "
			"differ",
			F_TEXT("group", g->settings.name), F_TEXT("from", from));
	else
		log_event(LOG_WARNING, "vrrp.dropped", "an advertisement was dropped",
			F_TEXT("group", g->settings.name), F_TEXT("from", from),
			F_TEXT("cause", vrrp_verdict_name(verdict)), F_INT("ttl", e->ttl));
}

/* --- sending -----------------------------------------------------------------------------------
 */
bool group_vrrp_send(struct group *g, const struct fsm_action *send)
{
	struct group_vrrp *v = g->vrrp;
	const struct vrrp_config *config = &v->machine.config;

	v->unheard =
		!vrrp_port_send(&v->port, send->packet == PACKET_RELEASE ? 0 : config->priority,
			(uint16_t)(config->interval_ns / VRRP_CS_NS));
	return !v->unheard;
}

/* --- sockets -----------------------------------------------------------------------------------
 */
static bool reopen(struct group *g)
{
	struct group_vrrp *v = g->vrrp;
	struct vrrp_port_config config = {.vrid = g->settings.vrid,
		.vip_count = g->settings.vip_count,
		.peer_count = g->settings.unicast_count};
	struct err err;

	memcpy(config.vips, g->settings.vips, sizeof(config.vips));
	memcpy(config.peers, g->settings.unicast_peers, sizeof(config.peers));
	if (vrrp_port_open(&v->port, g->link.ifindex, &config, &err) == 0) {
		v->trouble[0] = '\0';
		return true;
	}
	if (v->trouble[0] == '\0')
		log_event(LOG_ERROR, "vrrp.deaf", err.text, F_TEXT("group", g->settings.name),
			F_TEXT("decision", "no claim until it works"));
	(void)snprintf(v->trouble, sizeof(v->trouble), "%.127s", err.text);
	return false;
}

bool group_vrrp_link(struct group *g)
{
	struct vrrp_port *port = &g->vrrp->port;

	if (g->link.ifindex == 0) {
		vrrp_port_close(port);
		return false;
	}
	return port->ifindex == g->link.ifindex || reopen(g);
}

void group_vrrp_retry(struct group *g)
{
	if (g->vrrp->trouble[0] && g->link.ifindex != 0 && group_vrrp_link(g))
		group_event(g, &(struct fsm_event){.kind = FSM_EV_LINK,
				       .good = g->link.carrier && g->link.has_mac});
}

/* --- life --------------------------------------------------------------------------------------
 */
void group_vrrp_apply(struct group *g)
{
	vrrp_configure(&g->vrrp->machine, &g->settings.vrrp);
	vrrp_port_close(&g->vrrp->port);
	if (g->link.ifindex != 0 && !reopen(g))
		group_event(g, &(struct fsm_event){.kind = FSM_EV_LINK, .good = false});
}

int group_vrrp_new(struct group *g, struct err *err)
{
	struct vrrp_port_handlers handlers = {.ctx = g, .on_advert = on_advert, .on_odd = on_odd};

	g->vrrp = calloc(1, sizeof(*g->vrrp));
	if (!g->vrrp)
		return err_set_errno(err, "group '%s'", g->settings.name);
	vrrp_port_init(&g->vrrp->port, g->agent->loop, &handlers);
	vrrp_init(&g->vrrp->machine, &g->settings.vrrp, monotonic_ns());
	return 0;
}

void group_vrrp_free(struct group *g)
{
	if (!g->vrrp)
		return;
	vrrp_port_close(&g->vrrp->port);
	free(g->vrrp);
	g->vrrp = NULL;
}

/* --- showing -----------------------------------------------------------------------------------
 */
struct group_view group_vrrp_view(const struct group *g, uint64_t now_ns)
{
	const struct vrrp *m = &g->vrrp->machine;
	bool alive = vrrp_peer_alive(m, now_ns);

	/* A backup is silent: a peer that is heard is active. */
	return (struct group_view){.state = m->state,
		.reason = m->reason,
		.next_ns = m->next_ns,
		.lease_ns = vrrp_lease_ns(m),
		.sent_ns = m->sent_ns,
		.frozen = m->frozen,
		.link = m->link,
		.gateway = m->gateway,
		.proxy = m->proxy,
		.alarms = m->alarms,
		.peer_known = alive,
		.peer_alive = alive,
		.peer_state = FSM_ACTIVE};
}

static json_t *dropped_json(const struct vrrp_port *p)
{
	json_t *dropped = json_object();

	for (enum vrrp_verdict v = 0; v < VRRP_VERDICT_COUNT; v++)
		if (p->dropped[v])
			json_object_set_new(dropped, vrrp_verdict_name(v),
				json_integer((json_int_t)p->dropped[v]));
	return dropped;
}

/* Who is active, as far as we know: ourselves, or whom we heard. */
static json_t *master_json(const struct group *g, uint64_t now_ns)
{
	const struct group_vrrp *v = g->vrrp;
	char text[ADDR_TEXT_MAX];
	struct vrrp_envelope own = {.family = AF_INET};

	if (v->machine.state == FSM_ACTIVE) {
		const struct vrrp_family *f = &v->port.families[v->port.families[0].fd < 0];

		own.family = f->family;
		memcpy(own.from, f->own, sizeof(own.from));
		address_text(&own, text);
	} else if (vrrp_peer_alive(&v->machine, now_ns)) {
		address_text(&v->heard, text);
	} else {
		return json_null();
	}
	return json_string(text);
}

json_t *group_vrrp_json(const struct group *g, uint64_t now_ns)
{
	const struct group_vrrp *v = g->vrrp;
	const struct vrrp *m = &v->machine;
	const struct vrrp_port *p = &v->port;
	bool known = m->heard_ns != 0;

	return json_pack(
		"{s:i, s:o, s:o, s:I, s:I, s:o, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:s?, s:o}",
		"priority", (int)m->config.priority, "peer_priority",
		known ? json_integer(m->peer.priority) : json_null(), "master",
		master_json(g, now_ns), "advertise_ms",
		(json_int_t)(m->config.interval_ns / NS_PER_MS), "active_down_ms",
		(json_int_t)(vrrp_down_interval_ns(m) / NS_PER_MS), "last_heard_ms",
		known ? json_integer((json_int_t)((now_ns - m->heard_ns) / NS_PER_MS))
		      : json_null(),
		"preempt", m->config.preempt && !m->moved, "unicast", p->config.peer_count > 0,
		"checksum", p->families[0].pseudo_header ? "pseudo_header" : "rfc9568", "received",
		(json_int_t)p->received, "sent", (json_int_t)p->sent, "send_failed",
		(json_int_t)p->send_failed, "differing", (json_int_t)p->differing, "trouble",
		v->trouble[0]	     ? v->trouble
		: p->send_errno != 0 ? strerrordesc_np(p->send_errno)
				     : NULL,
		"dropped", dropped_json(p));
}
