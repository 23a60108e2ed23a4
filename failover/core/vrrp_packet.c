#include "failover/core/vrrp_packet.h"

#include "shared/assert.h"

enum { VERSION = VRRP_FIRST_BYTE >> 4, ADVERTISEMENT = VRRP_FIRST_BYTE & 15, IP4_HEAD_MIN = 20 };

static const char *const verdict_names[] = {
#define X(name, text) [VRRP_##name] = (text),
	VRRP_VERDICTS(X)
#undef X
};

const char *vrrp_verdict_name(enum vrrp_verdict v)
{
	ASSERT(v < VRRP_VERDICT_COUNT);
	return verdict_names[v];
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* --- checksum (RFC 1071) -----------------------------------------------------------------------
 */
/* A message has at most 4,088 bytes: the sum cannot overflow. */
static uint32_t add(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(bytes + i);
	if (len % 2)
		sum += (uint32_t)bytes[len - 1] << 8;
	return sum;
}

static unsigned fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Both families': addresses, length, protocol; zeros add nothing. */
static uint32_t pseudo_header(const struct vrrp_envelope *e, size_t len)
{
	size_t bytes = vrrp_address_bytes(e->family);

	return add(add((uint32_t)len + VRRP_PROTOCOL, e->from, bytes), e->to, bytes);
}

static bool check_sum(
	const struct vrrp_envelope *e, const uint8_t *bytes, size_t len, bool *ret_pseudo_header)
{
	uint32_t sum = add(0, bytes, len);

	*ret_pseudo_header = fold(sum + pseudo_header(e, len)) == 0xffff;
	return *ret_pseudo_header || (e->family == AF_INET && fold(sum) == 0xffff);
}

/* --- reading -----------------------------------------------------------------------------------
 */
enum vrrp_verdict vrrp_open_ip4(
	struct span datagram, struct vrrp_envelope *ret_envelope, struct span *ret_message)
{
	const uint8_t *ip = (const uint8_t *)datagram.ptr;
	size_t head, total;

	if (datagram.len < IP4_HEAD_MIN || ip[0] >> 4 != 4)
		return VRRP_SHAPE;
	head = (size_t)(ip[0] & 15) * 4;
	total = get16(ip + 2);
	if (head < IP4_HEAD_MIN || total < head || total > datagram.len)
		return VRRP_SHAPE;
	*ret_envelope = (struct vrrp_envelope){.family = AF_INET, .ttl = ip[8]};
	memcpy(ret_envelope->from, ip + 12, 4);
	memcpy(ret_envelope->to, ip + 16, 4);
	*ret_message = span_make(ip + head, total - head);
	return VRRP_OK;
}

enum vrrp_verdict vrrp_decode(
	const struct vrrp_envelope *e, struct span message, struct vrrp_packet *ret_packet)
{
	const uint8_t *at = (const uint8_t *)message.ptr;
	struct vrrp_packet p;

	ASSERT(e->family == AF_INET || e->family == AF_INET6);
	if (e->ttl != VRRP_TTL)
		return VRRP_TTL_WRONG;
	if (message.len < VRRP_HEAD_BYTES)
		return VRRP_SHAPE;
	if (at[0] >> 4 != VERSION)
		return VRRP_VERSION;
	if ((at[0] & 15) != ADVERTISEMENT)
		return VRRP_TYPE;
	p = (struct vrrp_packet){.vrid = at[1],
		.priority = at[2],
		.count = at[3],
		.interval_cs = (uint16_t)(get16(at + 4) & VRRP_INTERVAL_MAX_CS),
		.addresses = at + VRRP_HEAD_BYTES};
	if (p.count == 0 ||
		message.len != VRRP_HEAD_BYTES + p.count * vrrp_address_bytes(e->family))
		return VRRP_SHAPE;
	if (!check_sum(e, at, message.len, &p.pseudo_header))
		return VRRP_CHECKSUM;
	if (p.interval_cs == 0)
		return VRRP_INTERVAL;
	*ret_packet = p;
	return VRRP_OK;
}

/* --- writing -----------------------------------------------------------------------------------
 */
size_t vrrp_encode(
	const struct vrrp_envelope *e, const struct vrrp_packet *p, uint8_t out[VRRP_DATAGRAM_MAX])
{
	size_t bytes = p->count * vrrp_address_bytes(e->family), len = VRRP_HEAD_BYTES + bytes;
	uint32_t sum;

	ASSERT(e->family == AF_INET || e->family == AF_INET6);
	ASSERT(p->count > 0 && p->interval_cs > 0 && p->interval_cs <= VRRP_INTERVAL_MAX_CS);
	out[0] = VRRP_FIRST_BYTE;
	out[1] = p->vrid;
	out[2] = p->priority;
	out[3] = p->count;
	put16(out + 4, p->interval_cs);
	put16(out + 6, 0);
	memcpy(out + VRRP_HEAD_BYTES, p->addresses, bytes);
	sum = add(0, out, len);
	if (p->pseudo_header || e->family == AF_INET6)
		sum += pseudo_header(e, len);
	put16(out + 6, ~fold(sum) & 0xffff);
	return len;
}
