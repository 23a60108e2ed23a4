/*
 * The rules of election.h.
 */
#include "failover/core/election.h"

#include "shared/assert.h"

bool election_outranks(uint8_t node, uint8_t other, uint8_t prefer)
{
	ASSERT(node != other);
	if (prefer == node || prefer == other)
		return prefer == node;
	return node > other;
}

bool election_keeps(uint8_t node, uint64_t epoch, uint8_t other, uint64_t other_epoch)
{
	ASSERT(node != other);
	return epoch != other_epoch ? epoch > other_epoch : node > other;
}
