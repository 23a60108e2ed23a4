#include "proxy/exchange/retry.h"

#include "shared/assert.h"

/* Doing it twice is doing it once (RFC 9110 9.2.2). Of a method that we do not know, nobody knows.
 */
static bool idempotent(enum http_method m)
{
	return m == HTTP_GET || m == HTTP_HEAD || m == HTTP_OPTIONS || m == HTTP_PUT ||
	       m == HTTP_DELETE;
}

unsigned retry_status_bit(uint16_t status)
{
	switch (status) {
	case 429:
		return RETRY_ON_429;
	case 500:
		return RETRY_ON_500;
	case 502:
		return RETRY_ON_502;
	case 503:
		return RETRY_ON_503;
	case 504:
		return RETRY_ON_504;
	default:
		return 0;
	}
}

enum retry_word retry_reason(enum retry_failure failure, uint16_t status)
{
	unsigned bit;

	switch (failure) {
	case RETRY_UNCONNECTED:
		return RETRY_WORD_CONNECT;
	case RETRY_WENT_STALE:
		return RETRY_WORD_STALE;
	case RETRY_BROKE:
		return RETRY_WORD_RESET;
	case RETRY_TOO_SLOW:
		return RETRY_WORD_FIRST_BYTE;
	case RETRY_STATUS:
		break;
	}
	bit = retry_status_bit(status);
	ASSERT(bit);
	return (enum retry_word)__builtin_ctz(bit);
}

bool retry_allowed(const struct retry_conf *conf, const struct retry_case *what)
{
	bool may_repeat = idempotent(what->method) || conf->unsafe_methods;

	if (what->others >= conf->further || !what->held)
		return false;
	switch (what->failure) {
	case RETRY_UNCONNECTED:
		return conf->on & RETRY_ON_CONNECT;
	case RETRY_WENT_STALE:
		if (conf->on & RETRY_ON_STALE && (!what->sent || idempotent(what->method)))
			return true;
		__attribute__((fallthrough)); /* it is a kind of this */
	case RETRY_BROKE:
		if (!what->sent) /* as if it had never been connected */
			return conf->on & (RETRY_ON_CONNECT | RETRY_ON_RESET);
		return conf->on & RETRY_ON_RESET && may_repeat;
	case RETRY_TOO_SLOW:
		return conf->on & RETRY_ON_FIRST_BYTE && may_repeat;
	case RETRY_STATUS:
		return conf->on & retry_status_bit(what->status) && may_repeat;
	}
	return false;
}

bool retry_may_resend(const struct retry_conf *conf, enum http_method method)
{
	const unsigned later = RETRY_ON_RESET | RETRY_ON_FIRST_BYTE | RETRY_ON_STATUSES;

	if (conf->further == 0)
		return false;
	if (idempotent(method))
		return conf->on & (later | RETRY_ON_STALE);
	return conf->unsafe_methods && conf->on & later;
}
