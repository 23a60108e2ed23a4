/*
 * Runs a fuzz target over its committed corpus, without libFuzzer: every input once. Further files
 * to run may be named on the command line.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t size = 0;
	long end;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0 ||
		fseek(file, 0, SEEK_SET) != 0)
		goto fail;
	size = (size_t)end;
	data = malloc(size ? size : 1); /* exact, so that a sanitizer sees a read too far */
	if (!data || fread(data, 1, size, file) != size)
		goto fail;
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
fail:
	perror(path);
	if (file)
		fclose(file);
	free(data);
	return -1;
}

int main(int argc, char **argv)
{
	DIR *corpus = opendir(FUZZ_CORPUS);
	struct dirent *entry;
	unsigned ran = 0;
	char path[4096];

	if (!corpus) {
		perror(FUZZ_CORPUS);
		return 1;
	}
	while ((entry = readdir(corpus))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", FUZZ_CORPUS, entry->d_name);
		if (replay(path) < 0)
			return 1;
		ran++;
	}
	closedir(corpus);
	for (int i = 1; i < argc; i++, ran++)
		if (replay(argv[i]) < 0)
			return 1;
	printf("%u inputs\n", ran);
	return ran ? 0 : 1;
}
