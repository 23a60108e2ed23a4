/*
 * Whole exchanges over HTTP/2: the shipped worker between a client whose connection has begun and
 * frames of the input, and servers of both protocols that say what the input tells them
 * (exchange_rig.h). Oracles: every stream, exchange, connection and buffer is given back in the
 * end, by deadlines alone (the rig); what clients and servers get is HTTP/2 that a strict reader
 * takes, and whole answers are answers (h2_oracle.h); whether bytes arrive in one piece or one by
 * one.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/h2_oracle.h"

#define ONE_BY_ONE_MAX 512
#define PIECE_BYTES 1021

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome *outcome;
	struct rig_result result;

	if (!outcome) {
		ASSERT(rig_open() == 0 && rig_serves_h2());
		outcome = outcome_new();
	}
	if (size > H2_SCRIPT_MAX)
		return 0;
	result = rig_run_h2(span_make(data, size), SIZE_MAX);
	h2_oracle_check(outcome);
	if (size > ONE_BY_ONE_MAX)
		return 0;
	rig_run_h2(span_make(data, size), result.bulky ? PIECE_BYTES : 1);
	h2_oracle_check(outcome);
	return 0;
}
