#include "shared/thread.h"

#include <errno.h>
#include <signal.h>

#define STACK_BYTES (512 * 1024)

int thread_start(
	pthread_t *ret_thread, void *(*run)(void *), void *arg, const char *what, struct err *err)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	rc = pthread_create(ret_thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		return 0;
	errno = rc;
	return err_set_errno(err, "cannot start %s", what);
}
