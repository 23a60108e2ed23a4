#include "proxy/net/progress.h"

/* Not netinet/tcp.h: its tcp_info ends before what is wanted here. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "shared/units.h"

int progress_read(int fd, struct progress *ret_progress)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
		len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
		return -1;
	*ret_progress = (struct progress){
		.acked_bytes = info.tcpi_bytes_acked,
		.silent_ns = info.tcpi_last_data_sent * NS_PER_MS,
	};
	return 0;
}
