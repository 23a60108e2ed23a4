/*
 * What a group that speaks VRRP has instead of heartbeats: the machine of RFC 9568 and its raw
 * sockets. group.c drives the machine with its own events and does its actions; here are the
 * advertisements, in and out, and what status shows of them.
 */
#pragma once

#include <jansson.h>

#include "failover/core/vrrp.h"
#include "failover/group.h"
#include "failover/net/vrrp.h"

struct group_vrrp {
	struct vrrp machine;
	struct vrrp_port port;
	struct vrrp_envelope heard; /* of the last advertisement; family 0: none yet */
	char trouble[128];	    /* why the sockets are not open; "": they are */
	bool unheard;		    /* the last advertisement left in no family */
};

/* For g->settings, into g->vrrp. */
int group_vrrp_new(struct group *g, struct err *err);
void group_vrrp_free(struct group *g);
/* g->settings changed; the sockets follow with group_vrrp_link. */
void group_vrrp_apply(struct group *g);
/* g->link may have changed: opens or closes the sockets. false: deaf, which is as good as no link,
 * for a node that hears nothing would claim. */
bool group_vrrp_link(struct group *g);
/* Tries again to open what could not be opened. */
void group_vrrp_retry(struct group *g);
/* False: it left in no family, which g->vrrp->unheard says too. */
bool group_vrrp_send(struct group *g, const struct fsm_action *send);
struct group_view group_vrrp_view(const struct group *g, uint64_t now_ns);
/* Returns owned. */
json_t *group_vrrp_json(const struct group *g, uint64_t now_ns);
