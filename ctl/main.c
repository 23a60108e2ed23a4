/*
 * tandemctl: asks and orders the daemons over their Unix sockets. No state of its own.
 */
#include <unistd.h>

#include "ctl/ctl.h"

int main(int argc, char **argv)
{
	int rc = ctl_main(argc, argv, stdout);

	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("cannot write the answer");
		return rc ? rc : REFUSED;
	}
	return rc;
}
