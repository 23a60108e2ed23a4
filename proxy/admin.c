#include "proxy/admin.h"

#include <stdlib.h>

#include "proxy/discover/registering.h"
#include "proxy/observe/metrics.h"
#include "proxy/proxy.h"
#include "proxy/status.h"

static void say_json(struct httpd_answer *a, json_t *json, size_t flags)
{
	char *text = json ? json_dumps(json, flags) : NULL;

	a->status = 500;
	a->type = "application/json";
	if (text && buf_printf(&a->body, "%s\n", text) == 0)
		a->status = 200;
	free(text);
	json_decref(json);
}

static void on_health(struct proxy *p, struct httpd_answer *a)
{
	say_json(a,
		json_pack("{s:s, s:s}", "status", p->stopping ? "draining" : "serving", "role",
			p->link ? failover_role_name(failover_link_role(p->link)) : "single"),
		JSON_COMPACT);
	if (p->stopping)
		a->status = 503;
}

static void on_status(struct proxy *p, struct httpd_answer *a)
{
	say_json(a, proxy_status(p), JSON_INDENT(2));
}

static void on_metrics(struct proxy *p, struct httpd_answer *a)
{
	a->type = METRICS_TYPE;
	a->status = 200;
	if (metrics_write(p, &a->body) == 0)
		return;
	buf_fini(&a->body);
	a->type = "text/plain; charset=utf-8";
	a->status = 500;
}

static void on_root(struct proxy *p, struct httpd_answer *a)
{
	static const struct span page = SPAN(
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tandem"
		"</title></head>\n<body><h1>Tandem</h1>\n<ul>\n"
		"<li><a href=\"/healthz\">/healthz</a>: does this node serve, and as what</li>\n"
		"<li><a href=\"/status\">/status</a>: what it does, as JSON</li>\n"
		"<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n"
		"</ul></body></html>\n");

	(void)p;
	a->type = "text/html; charset=utf-8";
	a->status = buf_append(&a->body, page) == 0 ? 200 : 500;
}

void admin_on_request(void *ctx, const struct httpd_request *r, struct httpd_answer *a)
{
	static const struct {
		const char *path;
		void (*answer)(struct proxy *p, struct httpd_answer *a);
	} pages[] = {
		{"/", on_root},
		{"/healthz", on_health},
		{"/metrics", on_metrics},
		{"/status", on_status},
	};

	struct proxy *p = ctx;

	if (span_starts(r->path, SPAN(REGISTERING_PREFIX))) {
		registering_on_request(p->discovery, p->settings, r, a);
		if (a->status == 201 || r->method == HTTP_DELETE) /* another server, or one less */
			proxy_settle(p);
		return;
	}
	for (unsigned i = 0; i < countof(pages); i++) {
		if (!span_eq(r->path, span_of(pages[i].path)))
			continue;
		if (r->method == HTTP_GET || r->method == HTTP_HEAD) {
			pages[i].answer(ctx, a);
			return;
		}
		a->status = 405;
		a->allow = "GET, HEAD";
		return;
	}
}
