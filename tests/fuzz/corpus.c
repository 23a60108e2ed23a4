#include "tests/fuzz/corpus.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int corpus_file(const char *path, void (*run)(const uint8_t *data, size_t size))
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t size = 0;
	long end;
	int rc = -1;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0 ||
		fseek(file, 0, SEEK_SET) != 0)
		goto out;
	size = (size_t)end;
	data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size)
		goto out;
	rc = 0;
out:
	if (rc < 0)
		perror(path);
	if (file)
		fclose(file);
	if (rc == 0)
		run(data, size);
	free(data);
	return rc;
}

int corpus_each(const char *dir, void (*run)(const uint8_t *data, size_t size))
{
	DIR *corpus = opendir(dir);
	struct dirent *entry;
	char path[4096];
	int count = 0;

	if (!corpus) {
		perror(dir);
		return -1;
	}
	while (count >= 0 && (entry = readdir(corpus))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		count = corpus_file(path, run) == 0 ? count + 1 : -1;
	}
	closedir(corpus);
	return count;
}
