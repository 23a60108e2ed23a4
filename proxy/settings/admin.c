#include "proxy/settings/admin.h"

#include <stdlib.h>

int admin_build(struct admin_conf *a, const struct conf_node *root)
{
	const struct conf_node *binds = conf_find(root, "admin.bind");
	const struct conf_node *allow = conf_find(root, "admin.allow");

	*a = (struct admin_conf){0};
	a->binds = calloc(binds ? binds->count + 1 : 1, sizeof(*a->binds));
	a->allow = calloc(allow ? allow->count + 1 : 1, sizeof(*a->allow));
	if (!a->binds || !a->allow)
		return -1;
	conf_each (bind, binds)
		a->binds[a->bind_count++] = bind->addr;
	conf_each (network, allow)
		a->allow[a->allow_count++] = network->cidr;
	return 0;
}

void admin_fini(struct admin_conf *a)
{
	free(a->binds);
	free(a->allow);
}
