/*
 * Whole exchanges: the shipped worker between clients and servers that say and do what the input
 * tells them (exchange_rig.h; its first byte chooses the listener). Oracles: every exchange,
 * connection and buffer is given back in the end, by deadlines alone (the rig); what servers and
 * clients received is what was said (exchange_oracle.h); however bytes arrive, in one piece or one
 * by one, the outcome is the same.
 */
#include "tests/fuzz/exchange_oracle.h"
#include "tests/fuzz/fuzz.h"

#define SCRIPT_MAX 4096
#define ONE_BY_ONE_MAX 1024 /* scripts longer than that are not played byte by byte as well */
#define PIECE_BYTES 1021    /* nor those that say much */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome *first, *second;
	enum rig_listener which;
	struct rig_result result;
	struct span script;

	if (!first) {
		ASSERT(rig_open() == 0 && rig_serves());
		first = outcome_new();
		second = outcome_new();
	}
	if (size < 2 || size > SCRIPT_MAX)
		return 0;
	which = data[0] == 't' ? LISTENER_TRUSTING : LISTENER_PLAIN;
	script = span_make(data + 1, size - 1);
	result = rig_run(which, script, SIZE_MAX);
	outcome_check(first, which);
	if (size > ONE_BY_ONE_MAX)
		return 0;
	rig_run(which, script, result.bulky ? PIECE_BYTES : 1);
	outcome_check(second, which);
	if (!result.timed && which == LISTENER_PLAIN)
		outcome_check_same(first, second);
	return 0;
}
