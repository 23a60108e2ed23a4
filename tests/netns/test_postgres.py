#!/usr/bin/env python3
"""examples/postgres.yaml with the real servers: writes meet the primary, reads a replica, and both follow a
promotion. The replicas stream through the proxy themselves."""

import glob
import os
import pwd
import re
import sys

from lab import SKIPPED, SLOW, TREE, Lab, LabTest, Node, main, wait_for

LB = "10.77.0.2"
WRITE, READ = 5432, 5433
PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
PSQL = os.path.join(PROGRAMS[-1], "psql") if PROGRAMS else None  # not the slow one in the path, which chooses a version


def example():
    with open(os.path.join(TREE, "examples", "postgres.yaml"), encoding="utf-8") as f:
        return re.sub(r"10\.0\.3\.4(\d)", r"10.77.0.2\1", f.read())


class Server:
    """A PostgreSQL server on a machine of its own, and the script that is asked about it."""

    def __init__(self, node):
        self.node, self.data = node, os.path.join(node.dir, "data")
        owner = pwd.getpwnam("postgres")
        # It refuses to run as root, which we are here: a user namespace within calls us otherwise.
        self.as_owner = ["unshare", "--user", "--map-user=%d" % owner.pw_uid, "--map-group=%d" % owner.pw_gid]

    def tool(self, name, *argv):
        self.node.run(*self.as_owner, os.path.join(PROGRAMS[-1], name), *argv)

    def make(self):
        self.tool("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "--locale=C",
                  "--wal-segsize=1")
        with open(os.path.join(self.data, "pg_hba.conf"), "a", encoding="ascii") as f:
            f.write("host all all 10.77.0.0/24 trust\nhost replication all 10.77.0.0/24 trust\n")

    def copy(self):
        self.tool("pg_basebackup", "-D", self.data, "-d", "host=%s port=%d user=postgres" % (LB, WRITE), "-R",
                  "--checkpoint=fast", "--no-sync")

    def start(self):
        options = {"listen_addresses": "*", "unix_socket_directories": self.node.dir, "fsync": "off",
                   "shared_buffers": "16MB", "wal_retrieve_retry_interval": "200ms"}
        self.node.start("postgres", *self.as_owner, os.path.join(PROGRAMS[-1], "postgres"), "-D", self.data,
                        *["--%s=%s" % pair for pair in options.items()])
        self.node.start("check", "env", "PGHOST=" + self.node.dir, "PGUSER=postgres", sys.executable,
                        os.path.join(TREE, "examples", "postgres-check"))
        wait_for("the server of %s answers" % self.node.name, lambda: self.ask("select 1") == "1")

    def ask(self, sql):
        return self.node.run(PSQL, "-XAtw", "-h", self.node.dir, "-U", "postgres", "-c", sql,
                             check=False).stdout.strip()


class Promotion(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab()
        try:
            third = lab.nodes["web3"] = Node(lab, "web3")
            lab.wire(third, "lan", "eth0", ["10.77.0.23/24"])
            lab.web.append(third)
            cls.servers = [Server(node) for node in lab.web]
            lab.a.write_config(example())
            lab.a.start_proxy()
            cls.servers[0].make()
            cls.servers[0].start()
            lab.wait_servers(lab.a, "primary", 1)
            for replica in cls.servers[1:]:
                replica.copy()
                replica.start()
            lab.wait_servers(lab.a, "replicas", 2)
        except BaseException:
            lab.close(True)
            raise

    def sql(self, port, text):
        return self.client.run(PSQL, "-XAtw", "-h", LB, "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1",
                               "-c", text, check=False, timeout=10 * SLOW)

    def where(self, port):
        return self.sql(port, "select host(inet_server_addr()) || ' ' || pg_is_in_recovery()").stdout.strip()

    def rows(self, port):
        return self.sql(port, "select count(*) from t").stdout.strip()

    def up(self, pool):
        servers = self.a.ask("proxy", "status")["pools"][pool]["servers"]
        return sorted(name for name, s in servers.items() if s["health"].startswith(("up", "failing")))

    def test_writes_meet_the_primary_and_reads_a_replica_and_both_follow_a_promotion(self):
        first, second, third = self.servers
        self.assertEqual((self.up("primary"), self.up("replicas")), (["db1"], ["db2", "db3"]))
        self.assertEqual(self.sql(WRITE, "create table t (n int); insert into t values (1)").returncode, 0)
        self.assertEqual(self.where(WRITE), "10.77.0.21 false")
        self.assertEqual({self.where(READ) for _ in range(8)}, {"10.77.0.22 true", "10.77.0.23 true"})
        wait_for("the row is on both replicas", lambda: {self.rows(READ) for _ in range(4)} == {"1"})

        first.node.kill("postgres")
        wait_for("nobody takes writes", lambda: self.up("primary") == [])
        refused = self.sql(WRITE, "insert into t values (2)")  # by nobody, and never a replica that reads only
        self.assertNotEqual(refused.returncode, 0)
        self.assertNotIn("read-only", refused.stderr)
        self.assertEqual(self.rows(READ), "1")

        self.assertEqual(second.ask("select pg_promote()"), "t")
        wait_for("writes meet the promoted one", lambda:
                 self.sql(WRITE, "insert into t values (3)").returncode == 0)
        self.assertEqual(self.where(WRITE), "10.77.0.22 false")
        wait_for("only the last replica reads", lambda: self.up("replicas") == ["db3"])
        self.assertEqual({self.where(READ) for _ in range(4)}, {"10.77.0.23 true"})
        wait_for("what was written since is there, through the proxy", lambda: self.rows(READ) == "2")

        third.node.kill("postgres")
        wait_for("with no replica the primary reads as well", lambda: self.where(READ) == "10.77.0.22 false")
        lines = [s["in_flight"] for p in self.a.ask("proxy", "status")["pools"].values() for s in p["servers"].values()]
        self.assertLessEqual(sum(lines), 1)


if __name__ == "__main__":
    if not PROGRAMS:
        print("skipped: postgresql is not installed")
        sys.exit(SKIPPED)
    main()
