/*
 * Runs a fuzz target over its committed corpus, without libFuzzer: every input once. Further files
 * to run may be named on the command line.
 */
#include <stdio.h>

#include "tests/fuzz/corpus.h"
#include "tests/fuzz/fuzz.h"

static void run(const uint8_t *data, size_t size)
{
	LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
	int ran = corpus_each(FUZZ_CORPUS, run);

	if (ran < 0)
		return 1;
	for (int i = 1; i < argc; i++, ran++)
		if (corpus_file(argv[i], run) < 0)
			return 1;
	printf("%d inputs\n", ran);
	return ran ? 0 : 1;
}
