#include "failover/net/gateway.h"

#include <string.h>

#include "shared/assert.h"
#include "shared/units.h"

static void set_good(struct gateway *g, bool good)
{
	if (g->good == good)
		return;
	g->good = good;
	g->on_change(g->ctx, good);
}

static void on_claim(void *ctx, const struct frame_said *said)
{
	struct gateway *g = ctx;

	(void)said;
	g->heard_ns = monotonic_ns();
	set_good(g, true);
}

static void on_probe(void *ctx, const struct frame_said *said)
{
	(void)ctx, (void)said; /* the peer asks the same */
}

static void on_failed(void *ctx, const struct err *err)
{
	(void)ctx, (void)err; /* then there is no answer either */
}

static void on_ask(EV_P_ ev_timer *w, int revents)
{
	struct gateway *g = container_of(w, struct gateway, ask);
	struct err err;

	(void)loop, (void)revents;
	/* This process may have been held up: what was heard meanwhile counts. */
	probe_drain(&g->probe);
	if (monotonic_ns() - g->heard_ns > GATEWAY_SILENCE_MS * NS_PER_MS)
		set_good(g, false);
	(void)probe_start(&g->probe, GATEWAY_ASK_MS / 2, &err);
}

void gateway_init(struct gateway *g, struct ev_loop *loop, struct announce *announce, void *ctx,
	void (*on_change)(void *ctx, bool good))
{
	struct probe_handlers handlers = {
		.ctx = g, .on_claim = on_claim, .on_probe = on_probe, .on_failed = on_failed};

	*g = (struct gateway){.ctx = ctx, .on_change = on_change};
	probe_init(&g->probe, loop, announce, &handlers);
	ev_timer_init(&g->ask, on_ask, 0, GATEWAY_ASK_MS / 1e3);
}

void gateway_fini(struct gateway *g)
{
	g->good = false;
	ev_timer_stop(g->probe.loop, &g->ask);
	probe_fini(&g->probe);
}

int gateway_watch(struct gateway *g, const struct addr *gateway, int ifindex,
	const uint8_t mac[FRAME_MAC_LEN], struct err *err)
{
	g->address.family = gateway->sa.sa_family;
	if (g->address.family == AF_INET) {
		g->address.bits = 32;
		memcpy(g->address.bytes, &gateway->in.sin_addr, 4);
	} else {
		g->address.bits = 128;
		memcpy(g->address.bytes, &gateway->in6.sin6_addr, 16);
	}
	if (probe_listen(&g->probe, ifindex, mac, &g->address, 1, err) != 0)
		return err_prefix(err, "gateway");
	g->heard_ns = monotonic_ns(); /* it has its time to answer */
	ev_timer_again(g->probe.loop, &g->ask);
	return probe_start(&g->probe, GATEWAY_ASK_MS / 2, err);
}

void gateway_forget(struct gateway *g)
{
	ev_timer_stop(g->probe.loop, &g->ask);
	probe_deafen(&g->probe);
	set_good(g, false);
}
