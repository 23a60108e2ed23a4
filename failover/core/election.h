/*
 * Who should have the address, when two could. No arithmetic on weights: a few plain rules.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Before a claim: does `node` come before `other`? The preferred one does, else the higher id. */
bool election_outranks(uint8_t node, uint8_t other, uint8_t prefer);
/* Two owners: does `node` keep it? The later claim wins; at a tie the lower id yields. */
bool election_keeps(uint8_t node, uint64_t epoch, uint8_t other, uint64_t other_epoch);
