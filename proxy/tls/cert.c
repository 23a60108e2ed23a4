#include "proxy/tls/cert.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/addr.h"
#include "shared/assert.h"

#define NAME_MAX_BYTES 253

/* --- one certificate ----------------------------------------------------------------------------
 */

const char *openssl_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	return text ? text : "unknown error";
}

/* A key that needs a password is one that nobody can give at a restart. */
static int no_password(char *out, int size, int writing, void *was_asked)
{
	(void)out, (void)size, (void)writing;
	*(bool *)was_asked = true;
	return -1;
}

static BIO *open_pem(const char *file, struct err *err)
{
	struct stat st;
	BIO *b = NULL;

	if (stat(file, &st) < 0)
		err_set_errno(err, "cannot read %s", file);
	else if (!S_ISREG(st.st_mode))
		err_set(err, "%s is no file", file);
	else if (st.st_size > CERT_FILE_MAX)
		err_set(err, "%s is larger than %d KiB", file, CERT_FILE_MAX / 1024);
	else if (!(b = BIO_new_file(file, "r")))
		err_set_errno(err, "cannot read %s", file);
	ERR_clear_error();
	return b;
}

static int read_certificates(struct cert *c, const char *file, struct err *err)
{
	BIO *b = open_pem(file, err);
	int rc = 0;
	X509 *x;

	if (!b)
		return -1;
	c->leaf = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL);
	if (!c->leaf)
		rc = err_set(
			err, "%s holds no certificate in PEM form (%s)", file, openssl_reason());
	while (rc == 0 && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)))
		if (!sk_X509_push(c->chain, x)) {
			X509_free(x);
			rc = err_set(err, "out of memory");
		}
	/* A chain that ends in the middle would be one that some clients cannot verify. */
	if (rc == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		rc = err_set(err, "%s has something broken behind its first certificate (%s)", file,
			openssl_reason());
	ERR_clear_error();
	BIO_free(b);
	return rc;
}

static int read_key(struct cert *c, const char *file, struct err *err)
{
	BIO *b = open_pem(file, err);
	bool locked = false;

	if (!b)
		return -1;
	c->key = PEM_read_bio_PrivateKey(b, NULL, no_password, &locked);
	BIO_free(b);
	if (!c->key && locked)
		err_set(err, "the key in %s is encrypted: store it without a password", file);
	else if (!c->key)
		err_set(err, "%s holds no private key in PEM form (%s)", file, openssl_reason());
	ERR_clear_error();
	return c->key ? 0 : -1;
}

/* Lower case, and only what may be in a name (a NUL may hide the rest of one). */
static int add_name(struct cert *c, const unsigned char *text, int len)
{
	char *name;

	if (len <= 0 || len > NAME_MAX_BYTES || c->name_count == CERT_NAMES_MAX)
		return 0;
	for (int i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return 0;
	name = malloc((size_t)len + 1);
	if (!name)
		return -1;
	for (int i = 0; i < len; i++)
		name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
	name[len] = '\0';
	c->names[c->name_count++] = name;
	return 0;
}

static int add_address(struct cert *c, const ASN1_OCTET_STRING *ip)
{
	struct addr a = {.sa.sa_family = AF_UNSPEC};
	const unsigned char *bytes = ASN1_STRING_get0_data(ip);
	char text[ADDR_TEXT_MAX];

	if (ASN1_STRING_length(ip) == 4) {
		a.in.sin_family = AF_INET;
		memcpy(&a.in.sin_addr, bytes, 4);
	} else if (ASN1_STRING_length(ip) == 16) {
		a.in6.sin6_family = AF_INET6;
		memcpy(&a.in6.sin6_addr, bytes, 16);
	} else {
		return 0;
	}
	addr_format_ip(&a, text);
	return add_name(c, (const unsigned char *)text, (int)strlen(text));
}

static int read_alternative_names(struct cert *c, bool *ret_any)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	int rc = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(all) && rc == 0; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type == GEN_DNS)
			rc = add_name(c, ASN1_STRING_get0_data(g->d.dNSName),
				ASN1_STRING_length(g->d.dNSName));
		else if (g->type == GEN_IPADD)
			rc = add_address(c, g->d.iPAddress);
	}
	*ret_any = all != NULL;
	GENERAL_NAMES_free(all);
	return rc;
}

static int read_names(struct cert *c)
{
	X509_NAME *subject = X509_get_subject_name(c->leaf);
	bool has_alternatives;
	int at;

	c->names = calloc(CERT_NAMES_MAX, sizeof(*c->names));
	if (!c->names || read_alternative_names(c, &has_alternatives) < 0)
		return -1;
	at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (!has_alternatives && at >= 0) {
		const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));

		if (add_name(c, ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn)) < 0)
			return -1;
	}
	return 0;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static int fill_in(struct cert *c, const char *file, const char *key_file, struct err *err)
{
	unsigned len = sizeof(c->fingerprint);

	c->file = strdup(file);
	c->chain = sk_X509_new_null();
	if (!c->file || !c->chain)
		return err_set(err, "out of memory");
	if (read_certificates(c, file, err) < 0 || read_key(c, key_file ? key_file : file, err) < 0)
		return -1;
	if (!X509_check_private_key(c->leaf, c->key)) {
		ERR_clear_error();
		return err_set(err, "the key in %s does not belong to the certificate in %s",
			key_file ? key_file : file, file);
	}
	if (read_names(c) < 0 || !X509_digest(c->leaf, EVP_sha256(), c->fingerprint, &len))
		return err_set(err, "out of memory");
	c->from_s = seconds_of(X509_get0_notBefore(c->leaf));
	c->until_s = seconds_of(X509_get0_notAfter(c->leaf));
	return 0;
}

int cert_load(const char *file, const char *key_file, struct cert **ret_cert, struct err *err)
{
	struct cert *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, "out of memory");
	staple_init(&c->staple);
	if (fill_in(c, file, key_file, err) < 0) {
		cert_free(c);
		return -1;
	}
	*ret_cert = c;
	return 0;
}

void cert_free(struct cert *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->name_count; i++)
		free(c->names[i]);
	free(c->names);
	sk_X509_pop_free(c->chain, X509_free);
	X509_free(c->leaf);
	EVP_PKEY_free(c->key);
	staple_fini(&c->staple);
	free(c->file);
	free(c);
}

int64_t cert_days_left(const struct cert *c, int64_t now_s)
{
	int64_t left_s = c->until_s - now_s;

	return left_s < 0 ? -1 : left_s / (24 * 3600);
}

/* What stands for this host in a wildcard name: "*" for its first label. {0}: nothing can. */
static struct span wildcard_of(struct span host, char room[NAME_MAX_BYTES + 2])
{
	size_t dot = span_find(host, '.', 0);

	if (dot == 0 || dot == host.len)
		return (struct span){0};
	room[0] = '*';
	memcpy(room + 1, host.ptr + dot, host.len - dot);
	return span_make(room, 1 + host.len - dot);
}

static struct span lower(struct span host, char room[NAME_MAX_BYTES + 1])
{
	if (host.len && host.ptr[host.len - 1] == '.') /* the root's dot */
		host.len--;
	if (host.len > 2 && host.ptr[0] == '[') /* as in a URI; certificates have it without */
		host = span_make(host.ptr + 1, host.len - 2);
	if (host.len > NAME_MAX_BYTES)
		return (struct span){0};
	for (size_t i = 0; i < host.len; i++)
		room[i] = (char)(host.ptr[i] >= 'A' && host.ptr[i] <= 'Z' ? host.ptr[i] | 0x20
									  : host.ptr[i]);
	return span_make(room, host.len);
}

bool cert_covers(const struct cert *c, struct span host)
{
	char room[NAME_MAX_BYTES + 1], wild_room[NAME_MAX_BYTES + 2];
	struct span name = lower(host, room), wild = wildcard_of(name, wild_room);

	for (unsigned i = 0; i < c->name_count; i++) {
		struct span own = span_of(c->names[i]);

		if (span_eq(own, name) || (wild.len && span_eq(own, wild)))
			return true;
	}
	return false;
}

/* --- many ---------------------------------------------------------------------------------------
 */

struct cert_store *cert_store_new(void)
{
	struct cert_store *s = calloc(1, sizeof(*s));

	if (s)
		map_init(&s->sets, (size_t)CERTS_MAX * CERT_NAMES_MAX);
	return s;
}

void cert_store_free(struct cert_store *s)
{
	size_t at = 0;
	struct span name;
	void *set;

	if (!s)
		return;
	while (map_next(&s->sets, &at, &name, &set))
		free(set);
	map_fini(&s->sets);
	for (unsigned i = 0; i < s->count; i++)
		cert_free(s->certs[i]);
	free(s->certs);
	free(s->fallback);
	free(s);
}

int cert_store_add(struct cert_store *s, struct cert *c, struct err *err)
{
	if (s->count == CERTS_MAX) {
		cert_free(c);
		return err_set(err, "there are more than %d certificates", CERTS_MAX);
	}
	if (s->count == s->room) {
		unsigned room = s->room ? 2 * s->room : 8;
		struct cert **more = realloc(s->certs, room * sizeof(struct cert *));

		if (!more) {
			cert_free(c);
			return err_set(err, "out of memory");
		}
		s->certs = more;
		s->room = room;
	}
	s->certs[s->count++] = c;
	return 0;
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static bool exists(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0;
}

static int add_pair(struct cert_store *s, const char *file, const char *key_file, struct err *err)
{
	struct cert *c = NULL;

	if (cert_load(file, key_file, &c, err) < 0)
		return -1;
	return cert_store_add(s, c, err);
}

/* 1: there was one; 0: none. */
static int add_acme(struct cert_store *s, const char *directory, struct err *err)
{
	char chain[PATH_MAX], key[PATH_MAX];

	if ((size_t)snprintf(chain, sizeof(chain), "%s/fullchain.pem", directory) >=
			sizeof(chain) ||
		(size_t)snprintf(key, sizeof(key), "%s/privkey.pem", directory) >= sizeof(key))
		return err_set(err, "the name of the directory %s is too long", directory);
	if (!exists(chain) || !exists(key))
		return 0;
	return add_pair(s, chain, key, err) < 0 ? -1 : 1;
}

static int add_entry(struct cert_store *s, const char *directory, const char *name, struct err *err)
{
	static const char *const ends[] = {".crt", ".cert", ".pem"};
	char file[PATH_MAX], key[PATH_MAX + 8];
	struct stat st;

	if ((size_t)snprintf(file, sizeof(file), "%s/%s", directory, name) >= sizeof(file))
		return err_set(err, "a name in %s is too long", directory);
	if (stat(file, &st) < 0)
		return err_set_errno(err, "cannot read %s", file);
	if (S_ISDIR(st.st_mode))
		return add_acme(s, file, err) < 0 ? -1 : 0;
	for (unsigned i = 0; i < countof(ends); i++) {
		if (!ends_with(name, ends[i]))
			continue;
		snprintf(key, sizeof(key), "%.*s.key", (int)(strlen(file) - strlen(ends[i])), file);
		return add_pair(s, file, exists(key) ? key : NULL, err);
	}
	return 0;
}

static int is_shown(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int cert_store_add_directory(struct cert_store *s, const char *directory, struct err *err)
{
	struct dirent **entries;
	unsigned before = s->count;
	int rc = add_acme(s, directory, err), count;

	if (rc)
		return rc < 0 ? -1 : 0;
	count = scandir(directory, &entries, is_shown, alphasort);
	if (count < 0)
		return err_set_errno(err, "cannot read %s", directory);
	for (int i = 0; i < count; i++) {
		if (rc == 0)
			rc = add_entry(s, directory, entries[i]->d_name, err);
		free(entries[i]);
	}
	free(entries);
	if (rc == 0 && s->count == before)
		return err_set(err,
			"there is no certificate in %s: put NAME.crt and NAME.key there",
			directory);
	return rc;
}

/* Of two for one name and kind of key the one that lasts longer. */
static void set_add(struct cert_set *set, struct cert *c)
{
	for (unsigned i = 0; i < set->count; i++) {
		if (EVP_PKEY_get_base_id(set->certs[i]->key) != EVP_PKEY_get_base_id(c->key))
			continue;
		if (c->until_s > set->certs[i]->until_s)
			set->certs[i] = c;
		return;
	}
	if (set->count < CERT_KINDS_MAX)
		set->certs[set->count++] = c;
}

static struct cert_set *set_of(struct cert_store *s, struct span name)
{
	struct cert_set *set = map_get(&s->sets, name);

	if (set)
		return set;
	set = calloc(1, sizeof(*set));
	if (set && map_put(&s->sets, name, set) < 0) {
		free(set);
		set = NULL;
	}
	return set;
}

int cert_store_index(struct cert_store *s)
{
	struct cert *first = s->certs[0];

	ASSERT(s->count > 0 && !s->fallback);
	for (unsigned i = 0; i < s->count; i++)
		for (unsigned j = 0; j < s->certs[i]->name_count; j++) {
			struct cert_set *set = set_of(s, span_of(s->certs[i]->names[j]));

			if (!set)
				return -1;
			set_add(set, s->certs[i]);
		}
	s->fallback = calloc(1, sizeof(*s->fallback));
	if (!s->fallback)
		return -1;
	if (first->name_count)
		*s->fallback = *(struct cert_set *)map_get(&s->sets, span_of(first->names[0]));
	else
		set_add(s->fallback, first);
	return 0;
}

const struct cert_set *cert_store_find(const struct cert_store *s, struct span host)
{
	char room[NAME_MAX_BYTES + 1], wild_room[NAME_MAX_BYTES + 2];
	struct span name = lower(host, room), wild = wildcard_of(name, wild_room);
	const struct cert_set *set = name.len ? map_get(&s->sets, name) : NULL;

	if (!set && wild.len)
		set = map_get(&s->sets, wild);
	return set ? set : s->fallback;
}
