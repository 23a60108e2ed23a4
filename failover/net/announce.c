#include "failover/net/announce.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>
#include <unistd.h>

int announce_init(struct announce *a, struct err *err)
{
	/* Protocol 0: it never receives. */
	a->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return err_set_errno(err, "cannot open a packet socket (CAP_NET_RAW is needed)");
	return 0;
}

void announce_fini(struct announce *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

int announce_send_frame(struct announce *a, int ifindex, const uint8_t *frame, size_t len,
	bool *ret_refused, struct err *err)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = ETH_ALEN};
	ssize_t sent;

	memcpy(to.sll_addr, frame, ETH_ALEN);
	do {
		sent = sendto(a->fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to));
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	*ret_refused = errno == ENOBUFS;
	return err_set_errno(err, "cannot send a frame");
}

int announce_send(struct announce *a, int ifindex, const uint8_t mac[FRAME_MAC_LEN],
	const struct cidr *vips, unsigned vip_count, bool *ret_refused, struct err *err)
{
	static const enum frame_form forms[] = {FRAME_REQUEST, FRAME_REPLY};
	uint8_t frame[FRAME_MAX];
	int rc = 0;

	for (unsigned i = 0; i < vip_count; i++) {
		unsigned form_count = vips[i].family == AF_INET ? 2 : 1;

		for (unsigned f = 0; f < form_count; f++) {
			size_t len = frame_announce(&vips[i], mac, forms[f], frame);
			bool refused = false;
			struct err why;

			if (announce_send_frame(a, ifindex, frame, len, &refused, &why) == 0 ||
				rc != 0)
				continue;
			rc = -1;
			*ret_refused = refused;
			*err = why;
		}
	}
	return rc;
}
