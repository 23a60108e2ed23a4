#include "failover/net/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"

/* Each address is compared twice, beside a fixed part. */
#define FILTER_MAX (20 + 2 * PROBE_VIPS_MAX)
_Static_assert(FILTER_MAX < 255, "classic BPF jumps are 8 bits");
#define TO_ACCEPT 255	   /* a jump whose distance is filled in at the end */
#define FRAME_READ_MAX 128 /* bytes of a frame that we look at */
#define CLOSER_STACK_BYTES (64 * 1024)
#define READS_MAX 256 /* a turn, so that a flood cannot keep the loop */

struct filter {
	struct sock_filter code[FILTER_MAX];
	unsigned len;
};

static void emit(struct filter *f, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	ASSERT(f->len < FILTER_MAX);
	f->code[f->len++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

/* What is loaded against the word at `offset` of each address of the family; equal: accept. */
static void emit_compare(
	struct filter *f, const struct probe *p, sa_family_t family, unsigned offset)
{
	for (unsigned i = 0; i < p->vip_count; i++) {
		uint32_t word;

		if (p->vips[i].family != family)
			continue;
		memcpy(&word, p->vips[i].bytes + offset, sizeof(word));
		emit(f, BPF_JMP | BPF_JEQ | BPF_K, ntohl(word), TO_ACCEPT, 0);
	}
}

/* ARP whose sender or target address is one of ours; ICMPv6 solicitations and advertisements whose
 * target or sender ends like one of ours (frame_read compares the rest). */
static void filter_build(struct filter *f, const struct probe *p)
{
	unsigned not_arp;

	f->len = 0;
	emit(f, BPF_LD | BPF_H | BPF_ABS, 12, 0, 0);
	not_arp = f->len;
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 0, 0);
	emit(f, BPF_LD | BPF_W | BPF_ABS, 28, 0, 0);
	emit_compare(f, p, AF_INET, 0);
	emit(f, BPF_LD | BPF_W | BPF_ABS, 38, 0, 0);
	emit_compare(f, p, AF_INET, 0);
	emit(f, BPF_RET | BPF_K, 0, 0, 0);
	f->code[not_arp].jf = (uint8_t)(f->len - not_arp - 1);
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 1, 0);
	emit(f, BPF_RET | BPF_K, 0, 0, 0);
	emit(f, BPF_LD | BPF_B | BPF_ABS, 54, 0, 0); /* the ICMPv6 type */
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, 135, 2, 0);
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, 136, 1, 0);
	emit(f, BPF_RET | BPF_K, 0, 0, 0);
	emit(f, BPF_LD | BPF_W | BPF_ABS, 74, 0, 0); /* the end of the target */
	emit_compare(f, p, AF_INET6, 12);
	emit(f, BPF_LD | BPF_W | BPF_ABS, 34, 0, 0); /* the end of the sender */
	emit_compare(f, p, AF_INET6, 12);
	emit(f, BPF_RET | BPF_K, 0, 0, 0);
	emit(f, BPF_RET | BPF_K, FRAME_READ_MAX, 0, 0);
	for (unsigned i = 0; i + 1 < f->len; i++)
		if (f->code[i].jt == TO_ACCEPT)
			f->code[i].jt = (uint8_t)(f->len - 1 - i - 1);
}

static bool is_ours(const struct probe *p, const struct cidr *address)
{
	for (unsigned i = 0; i < p->vip_count; i++)
		if (cidr_same_host(&p->vips[i], address))
			return true;
	return false;
}

static void hear(struct probe *p, const uint8_t *frame, size_t len)
{
	struct frame_said said = frame_read(frame, len);

	if (said.kind == FRAME_NOTHING || !is_ours(p, &said.address) ||
		memcmp(said.mac, p->mac, FRAME_MAC_LEN) == 0)
		return;
	if (said.kind == FRAME_CLAIM)
		p->handlers.on_claim(p->handlers.ctx, &said);
	else
		p->handlers.on_probe(p->handlers.ctx, &said);
}

void probe_drain(struct probe *p)
{
	uint8_t frame[FRAME_READ_MAX];

	/* A handler may stop the listening: p->fd is read anew each time. */
	for (unsigned i = 0; i < READS_MAX && p->fd >= 0; i++) {
		ssize_t len = recv(p->fd, frame, sizeof(frame), 0);

		if (len >= 0)
			hear(p, frame, (size_t)len);
		else if (errno == EAGAIN)
			return;
		/* ENETDOWN and the like: told once; netlink tells us what happened. */
	}
}

static void on_readable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	probe_drain(container_of(w, struct probe, readable));
}

static int shoot(struct probe *p, struct err *err)
{
	uint8_t frame[FRAME_MAX];
	bool refused = false;

	for (unsigned i = 0; i < p->vip_count; i++) {
		size_t len = frame_probe(&p->vips[i], p->mac, frame);

		if (announce_send_frame(p->announce, p->ifindex, frame, len, &refused, err) != 0)
			return err_prefix(err, "address probe");
	}
	p->shots_left--;
	return 0;
}

static void on_next_shot(EV_P_ ev_timer *w, int revents)
{
	struct probe *p = container_of(w, struct probe, next_shot);
	struct err err;

	(void)revents;
	ASSERT(p->fd >= 0); /* deafening stops this timer */
	if (shoot(p, &err) != 0) {
		ev_timer_stop(EV_A_ w);
		p->handlers.on_failed(p->handlers.ctx, &err);
	} else if (p->shots_left == 0) {
		ev_timer_stop(EV_A_ w);
	}
}

void probe_init(struct probe *p, struct ev_loop *loop, struct announce *announce,
	const struct probe_handlers *handlers)
{
	*p = (struct probe){.loop = loop, .announce = announce, .handlers = *handlers, .fd = -1};
	ev_init(&p->readable, on_readable);
	ev_init(&p->next_shot, on_next_shot);
}

void probe_fini(struct probe *p)
{
	probe_deafen(p);
}

static int join_solicited(int fd, int ifindex, const struct cidr *vip)
{
	struct packet_mreq join = {
		.mr_ifindex = ifindex, .mr_type = PACKET_MR_MULTICAST, .mr_alen = FRAME_MAC_LEN};

	frame_solicited_mac(vip, join.mr_address);
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &join, sizeof(join));
}

/* The narrowest tap that hears what is needed: packets of other protocols then cost nothing at all.
 */
static uint16_t protocol_of(const struct probe *p)
{
	bool v4 = p->before_filter, v6 = v4;

	for (unsigned i = 0; i < p->vip_count; i++) {
		v4 = v4 || p->vips[i].family == AF_INET;
		v6 = v6 || p->vips[i].family == AF_INET6;
	}
	return v4 && v6 ? ETH_P_ALL : v6 ? ETH_P_IPV6 : ETH_P_ARP;
}

static int open_socket(const struct probe *p, int ifindex, struct err *err)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
		.sll_ifindex = ifindex,
		.sll_protocol = htons(protocol_of(p))};
	struct filter filter;
	struct sock_fprog program = {.filter = filter.code};
	/* Protocol 0 at first: nothing comes before the filter is there. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set_errno(err, "cannot open a packet socket (CAP_NET_RAW is needed)");
	filter_build(&filter, p);
	program.len = (unsigned short)filter.len;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
		err_set_errno(err, "cannot set a packet filter");
		goto fail;
	}
	/* Only a saving: our own frames are known by their MAC too. */
	(void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){1}, sizeof(int));
	for (unsigned i = 0; i < p->vip_count; i++)
		if (p->vips[i].family == AF_INET6 &&
			join_solicited(fd, ifindex, &p->vips[i]) != 0) {
			err_set_errno(err, "cannot listen to neighbour solicitations");
			goto fail;
		}
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
		err_set_errno(err, "cannot listen on the interface");
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return -1;
}

int probe_listen(struct probe *p, int ifindex, const uint8_t mac[FRAME_MAC_LEN],
	const struct cidr *vips, unsigned vip_count, struct err *err)
{
	ASSERT(vip_count <= PROBE_VIPS_MAX);
	probe_deafen(p);
	p->ifindex = ifindex;
	memcpy(p->mac, mac, FRAME_MAC_LEN);
	memcpy(p->vips, vips, vip_count * sizeof(*vips));
	p->vip_count = vip_count;
	p->fd = open_socket(p, ifindex, err);
	if (p->fd < 0)
		return -1;
	ev_io_set(&p->readable, p->fd, EV_READ);
	ev_io_start(p->loop, &p->readable);
	return 0;
}

static void *close_packet_socket(void *arg)
{
	close((int)(intptr_t)arg);
	return NULL;
}

/* The kernel waits for all its processors before a packet socket is gone: up to hundreds of
 * milliseconds on a busy machine, in which heartbeats must go on. So it waits on a thread of its
 * own. */
static void close_aside(int fd)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, CLOSER_STACK_BYTES);
	rc = pthread_create(&thread, &attr, close_packet_socket, (void *)(intptr_t)fd);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		close(fd);
}

void probe_deafen(struct probe *p)
{
	probe_stop(p);
	ev_io_stop(p->loop, &p->readable);
	if (p->fd >= 0)
		close_aside(p->fd);
	p->fd = -1;
}

int probe_start(struct probe *p, uint64_t window_ms, struct err *err)
{
	probe_stop(p);
	if (p->fd < 0)
		return err_set(err, "address probe: the interface is not there");
	p->shots_left = PROBE_SHOTS;
	if (shoot(p, err) != 0)
		return -1;
	/* In thirds of the window, so that even the last question has a third for its answer. */
	p->next_shot.repeat = (double)window_ms / 1e3 / PROBE_SHOTS;
	ev_timer_again(p->loop, &p->next_shot);
	return 0;
}

void probe_stop(struct probe *p)
{
	ev_timer_stop(p->loop, &p->next_shot);
	p->shots_left = 0;
}
