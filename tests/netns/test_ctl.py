#!/usr/bin/env python3
"""tandemctl as an operator types it: words, tables, JSON, and exit codes that scripts can trust."""

import json
import os
import signal
import subprocess
import time

from lab import BUILD, SLOW, LabTest, main, wait_for

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3


class Tandemctl(LabTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def test_status_shows_the_pair_at_a_glance(self):
        text = self.a.ctl("status").stdout
        for word in ("lb-a", "lb-b", "ACTIVE", "STANDBY", "web", "10.77.0.100"):
            self.assertIn(word, text)

    def test_status_as_json_is_what_the_daemons_said(self):
        status = json.loads(self.a.ctl("status", "--json").stdout)
        self.assertIn('"ACTIVE"', json.dumps(status))

    def test_pools_and_servers_are_tables(self):
        self.assertIn("round_robin", self.a.ctl("pools").stdout)
        servers = self.a.ctl("servers").stdout
        for word in ("web1", "web2", "10.77.0.21:8080", "up"):
            self.assertIn(word, servers)
        self.assertEqual(servers, self.a.ctl("servers", "web").stdout)
        json.loads(self.a.ctl("servers", "--json").stdout)

    def test_names_that_do_not_exist_are_refused_with_the_nearest(self):
        done = self.a.ctl("servers", "wed", check=False)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("web", done.stderr)
        done = self.a.ctl("switchover", "wbe", check=False)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("web", done.stderr)

    def test_a_wrong_word_is_a_usage_error_with_the_nearest(self):
        done = self.a.ctl("statsu", check=False)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("status", done.stderr)
        self.assertEqual(self.a.ctl("status", "--jsno", check=False).returncode, USAGE)
        self.assertEqual(self.a.run(os.path.join(BUILD, "ctl/tandemctl"), check=False).returncode, USAGE)

    def test_no_daemon_is_an_exit_code_of_its_own(self):
        done = self.a.run(os.path.join(BUILD, "ctl/tandemctl"), "status", "--run-dir", "/nonexistent", check=False)
        self.assertEqual(done.returncode, UNREACHABLE)
        self.assertIn("/nonexistent", done.stdout + done.stderr)

    def test_check_says_good_or_what_is_wrong(self):
        good = os.path.join(self.a.dir, "tandem.yaml")
        self.assertEqual(self.a.ctl("check", good).returncode, DONE)
        bad = os.path.join(self.a.dir, "bad.yaml")
        with open(good, encoding="utf-8") as f, open(bad, "w", encoding="utf-8") as g:
            g.write(f.read().replace("pool: web", "pool: wed"))
        done = self.a.ctl("check", bad, check=False)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("pool 'wed' is not defined", done.stdout + done.stderr)

    def test_reload_tells_what_happened(self):
        self.assertEqual(self.a.ctl("reload").returncode, DONE)
        config = self.lab.config()
        self.a.write_config(config.replace("round_robin", "round_robbin"))
        done = self.a.ctl("reload", check=False)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("round_robbin", done.stdout + done.stderr)
        self.a.write_config(config)
        self.assertEqual(self.a.ctl("reload").returncode, DONE)

    def server(self, node, name):
        return node.ask("proxy", "status")["pools"]["web"]["servers"].get(name, {})

    def test_a_drain_on_one_node_holds_on_both_and_so_does_its_end(self):
        self.addCleanup(lambda: self.a.ctl("ready", "web/web1"))
        self.a.ctl("drain", "web/web1")
        wait_for("the other node drains it too", lambda: self.server(self.b, "web1")["admin"] == "draining")
        self.assertEqual(self.server(self.b, "web1")["admin_by"], self.server(self.a, "web1")["admin_by"])
        self.b.kill("proxy")  # and it is what the other node says then, not what its own disk did
        self.a.ctl("maintenance", "web/web1")
        self.a.ctl("weight", "web/web2", "7")
        self.b.start_proxy()
        wait_for("it hears what it missed", lambda: self.server(self.b, "web1").get("admin") == "maintenance"
                 and self.server(self.b, "web2")["weight"] == 7)
        self.b.ctl("ready", "web/web1")
        self.b.ctl("weight", "web/web2", "1")
        wait_for("and so it is on the first", lambda: self.server(self.a, "web1")["admin"] == "ready"
                 and self.server(self.a, "web2")["weight"] == 1)

    def test_a_server_added_here_is_there_and_each_sides_orders_survive_a_cut(self):
        self.a.ctl("server", "add", "web/extra", "10.77.0.21:8080")
        wait_for("the other node has it", lambda: self.server(self.b, "extra"))
        self.b.kill("agent")  # nothing is copied for now
        self.a.ctl("drain", "web/extra")
        self.b.ctl("weight", "web/extra", "3")
        self.b.start_agent()
        for node in (self.a, self.b):
            wait_for("both orders are on " + node.name, lambda: (
                self.server(node, "extra")["admin"], self.server(node, "extra")["weight"]) == ("draining", 3))
        self.b.ctl("server", "remove", "web/extra")
        wait_for("it is gone on the first", lambda: not self.server(self.a, "extra"))

    def test_switchover_freeze_and_resume_do_what_they_say(self):
        self.a.ctl("switchover")
        self.b.wait_state("ACTIVE")
        self.b.ctl("freeze")
        self.assertTrue(self.b.ask("agent", "status")["frozen"])
        done = self.b.ctl("switchover", check=False)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("frozen", done.stderr)
        self.b.ctl("resume")
        self.assertFalse(self.b.ask("agent", "status")["frozen"])

    def test_a_move_that_comes_to_nothing_is_told_at_once(self):
        self.b.programs["agent"].send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        done = self.a.ctl("switchover", check=False)
        took = time.monotonic() - begun
        self.b.programs["agent"].send_signal(signal.SIGCONT)
        self.assertEqual(done.returncode, REFUSED)
        self.assertRegex(done.stderr, "did not get ready in time|cannot take it")
        self.assertLess(took, 3 * SLOW)

    def test_status_shows_what_is_wrong_in_words(self):
        self.b.kill("proxy")
        self.a.kill("proxy")
        wait_for("the owner cannot serve", lambda: self.a.group()["alarms"])
        self.assertIn("web: this node has the address and cannot serve", self.a.ctl("status").stdout)

    def test_events_follow_a_move(self):
        child = subprocess.Popen(
            self.a.inside([os.path.join(BUILD, "ctl/tandemctl"), "events", "--json", "--run-dir", self.a.dir]),
            stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (child.kill(), child.communicate()))
        time.sleep(0.3)
        self.a.ask("agent", "switchover")
        for line in child.stdout:
            if "STANDBY" in line or "HANDOVER" in line:
                json.loads(line)
                break
        else:
            self.fail("the stream ended without the move")

    def test_status_goes_on_while_the_proxy_is_gone(self):
        self.a.kill("proxy")
        wait_for("the agent knows", lambda: self.a.ask("agent", "status")["proxy"]["state"] != "ok")
        text = self.a.ctl("status", check=False)
        self.assertIn("lb-a", text.stdout)


if __name__ == "__main__":
    main()
