"""The proxies: each does the same work (Host kept, X-Forwarded-For added, server connections kept), with one
worker, and is set up as someone would who knows it well and has just this to do. Each runs as one process."""

import os
import socket
import time

import machine


def server_addresses(servers, port):
    """As the load's origin listens: see tests/bench/origin.h."""
    if servers == 1:
        return ["127.0.0.1:%d" % port]
    return ["127.1.%d.%d:%d" % (i // 250, i % 250 + 1, port) for i in range(servers)]


class Target:
    """A proxy that can be started. `setup` has: dir, port, origin_port, routes, servers, log, connections."""
    name = program = version_option = None
    large_only = False  # a variant that only concerns large bodies

    def __init__(self, build):
        self.path = machine.tool(self.program)
        self.build = build

    @staticmethod
    def has_tcp():
        return True

    def version(self):
        return machine.first_line(self.path, self.version_option).replace("nginx version: ", "").split(" - ")[0]

    def prepare(self, setup):
        """Writes the configuration; returns the command that runs in the foreground."""
        raise NotImplementedError

    @staticmethod
    def write(setup, name, text):
        path = os.path.join(setup.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path


class Tandem(Target):
    """The proxy of this tree."""
    name, program, version_option = "tandem", "proxy/tandem-proxy", "--version"

    def __init__(self, build):
        super().__init__(build)
        self.path = os.path.join(build, self.program)

    def prepare_tcp(self, setup):
        config = self.write(setup, "tandem.yaml", """workers: 1
listeners:
  main: {bind: "127.0.0.1:%d", mode: tcp, pool: main}
pools:
  main: {servers: {s0: "127.0.0.1:%d"}}
""" % (setup.port, setup.origin_port))
        return [self.path, "-c", config, "--node", "bench", "--run-dir", setup.dir, "--state-dir", setup.dir]

    def prepare(self, setup):
        if setup.tcp:
            return self.prepare_tcp(setup)
        routes = "".join("      - {match: {host: h%d.example}, pool: main}\n" % i for i in range(setup.routes))
        servers = "".join("      s%d: \"%s\"\n" % pair for pair in
                          enumerate(server_addresses(setup.servers, setup.origin_port)))
        config = self.write(setup, "tandem.yaml", """workers: 1
log: {access: %s, format: combined}
listeners:
  main:
    bind: "127.0.0.1:%d"
%s    timeouts: {idle: 300s}
    routes:
%s      - {pool: main}
pools:
  main:
    timeouts: {server_idle: 300s}
    servers:
%s""" % (os.path.join(setup.dir, "access.log") if setup.log else "off", setup.port,
                     "    tls: {certificates: {cert: %s, key: %s}}\n" % (setup.tls, setup.tls) if setup.tls else "",
                     routes, servers))
        return [self.path, "-c", config, "--node", "bench", "--run-dir", setup.dir, "--state-dir", setup.dir]


class Nginx(Target):
    name, program, version_option = "nginx", "nginx", "-v"
    STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"

    @classmethod
    def has_tcp(cls):
        return os.path.exists(cls.STREAM)

    def prepare_tcp(self, setup):
        config = self.write(setup, "nginx.conf", """load_module %s;
%sdaemon off;
master_process off;
pid %s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 32768;
events { worker_connections 16384; accept_mutex off; multi_accept on; }
stream {
    tcp_nodelay on;
    proxy_buffer_size 64k;
    server { listen 127.0.0.1:%d backlog=4096; proxy_pass 127.0.0.1:%d; }
}
""" % (self.STREAM, "user root;\n" if os.geteuid() == 0 else "", setup.dir, setup.port, setup.origin_port))
        return [self.path, "-p", setup.dir, "-c", config, "-e", os.path.join(setup.dir, "nginx-error.log")]

    def prepare(self, setup):
        if setup.tcp:
            return self.prepare_tcp(setup)
        servers = "".join("        server %s max_fails=0;\n" % a
                          for a in server_addresses(setup.servers, setup.origin_port))
        names = "".join("    server { listen 127.0.0.1:%d; server_name h%d.example; "
                        "location / { proxy_pass http://main; } }\n" % (setup.port, i)
                        for i in range(setup.routes))
        log = "%s/access.log combined buffer=64k flush=1s" % setup.dir if setup.log else "off"
        temporary = "".join("    %s_temp_path %s/%s;\n" % (name, setup.dir, name)
                            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # As root (also of a user namespace) it would give its directories to "nobody".
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = self.write(setup, "nginx.conf", user + """daemon off;
master_process off;
pid %(dir)s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 32768;
events { worker_connections 16384; accept_mutex off; multi_accept on; }
http {
%(temporary)s    access_log %(log)s;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 300s;
%(requests)s    client_header_timeout 10s;
%(tls)s    client_max_body_size 0;
    client_body_buffer_size 64k;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_request_buffering off;
    proxy_buffer_size 16k;
    proxy_buffers 16 32k;
    proxy_busy_buffers_size 128k;
    proxy_max_temp_file_size 0;
    upstream main {
%(servers)s        keepalive %(keepalive)d;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }
    server { listen 127.0.0.1:%(port)d default_server backlog=4096%(listen)s; location / { proxy_pass http://main; } }
%(names)s}
""" % {"dir": setup.dir, "temporary": temporary, "log": log, "servers": servers, "names": names,
       "port": setup.port, "keepalive": max(256, 2 * setup.servers), "listen": " ssl http2" if setup.tls else "",
       # Where it is attacked its own limit is part of the defence.
       "requests": "" if setup.tls else "    keepalive_requests 1000000000;\n",
       "tls": "    ssl_certificate %s;\n    ssl_certificate_key %s;\n" % (setup.tls, setup.tls) if setup.tls else ""})
        return [self.path, "-p", setup.dir, "-c", config, "-e", os.path.join(setup.dir, "nginx-error.log")]


class Haproxy(Target):
    name, program, version_option = "haproxy", "haproxy", "-v"
    options = ""

    def prepare_tcp(self, setup):
        config = self.write(setup, "haproxy.cfg", """global
    nbthread 1
    maxconn %d
defaults
    mode tcp
    timeout connect 5s
    timeout client 300s
    timeout server 300s
%slisten main
    bind 127.0.0.1:%d backlog 4096
    server s0 127.0.0.1:%d
""" % (setup.connections + 1000, self.options, setup.port, setup.origin_port))
        return [self.path, "-db", "-f", config]

    def prepare(self, setup):
        if setup.tcp:
            return self.prepare_tcp(setup)
        servers = "".join("    server s%d %s pool-purge-delay 300s\n" % pair for pair in
                          enumerate(server_addresses(setup.servers, setup.origin_port)))
        rule = ""
        if setup.routes:
            names = self.write(setup, "hosts.map", "".join("h%d.example back\n" % i for i in range(setup.routes)))
            rule = "    use_backend %%[req.hdr(host),map_str(%s,back)]\n" % names
        config = self.write(setup, "haproxy.cfg", """global
    nbthread 1
    maxconn %(maxconn)d
    no strict-limits
%(log)s
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
    timeout http-request 10s
    option http-keep-alive
    option forwardfor
    http-reuse always
%(options)s
frontend front
    bind 127.0.0.1:%(port)d backlog 4096%(tls)s
%(rule)s    default_backend back
backend back
    balance roundrobin
%(servers)s""" % {"maxconn": setup.connections + 1000,
                  "log": "    log stdout format raw local0 info" if setup.log else "",
                  "options": self.options + ("    log global\n    option httplog\n" if setup.log else ""),
                  "tls": " ssl crt %s alpn h2,http/1.1" % setup.tls if setup.tls else "",
                  "port": setup.port, "rule": rule, "servers": servers})
        return [self.path, "-db", "-f", config]


class HaproxySplice(Haproxy):
    name, large_only = "haproxy-splice", True
    # splice-auto waits for what it takes for a stream, and found none in answers of 1 MB.
    options = "    option splice-request\n    option splice-response\n"


ALL = (Tandem, Nginx, Haproxy, HaproxySplice)


class Running:
    """A started proxy, until the `with` ends."""

    def __init__(self, rig, target, setup, wrapper=(), env=None, patience_s=20.0):
        self.target, self.port, self.dir = target, setup.port, setup.dir
        os.makedirs(setup.dir)
        command = [*wrapper, *target.prepare(setup)]
        self.output = os.path.join(setup.dir, "output")
        with open(self.output, "wb") as out:
            self.process = machine.spawn(command, rig.proxy_cpu, rig.nice, env, stdout=out, stderr=out)
        self.pid = self.process.pid
        try:
            self.wait_until_it_listens(patience_s)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def said(self):
        with open(self.output, encoding="utf-8", errors="replace") as f:
            return f.read()[-600:].strip()

    def wait_until_it_listens(self, patience_s):
        end = time.monotonic() + patience_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise machine.BenchError("%s did not start: %s" % (self.target.name, self.said())) from None
            time.sleep(0.02)

    def stop(self, patience_s=3.0):
        machine.stop(self.process, patience_s)
