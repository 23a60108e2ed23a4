#!/usr/bin/env python3
"""Two groups, so that both nodes work: each has a VIP of its own, and takes over the other's."""

from lab import LabTest, Lab, main, wait_for

OTHER = "10.77.0.101"
GROUPS = """    web:
      vrid: 51
      interface: eth0
      virtual_ips: [10.77.0.100/24]
      prefer: lb-a
    api:
      vrid: 52
      interface: eth0
      virtual_ips: [10.77.0.101/24]
      prefer: lb-b
      failback: after 1s
"""


class TwoGroups(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab()
        try:
            lab.config(groups=GROUPS)
            for node in lab.web:
                lab.start_web(node)
            for node in (lab.a, lab.b):
                node.start_proxy()
                node.start_agent()
            for node, group in ((lab.a, "web"), (lab.b, "api")):
                node.wait_state("ACTIVE", group)
        except BaseException:
            lab.close(True)
            raise

    def test_each_node_owns_the_group_that_prefers_it(self):
        for vip, node in (("10.77.0.100", "10.77.0.2"), (OTHER, "10.77.0.3")):
            wait_for("%s is served by %s" % (vip, node), lambda vip=vip, node=node:
                     self.lab.curl("http://%s/" % vip, check=False).stdout.split()[1:2] == [node])

    def test_a_survivor_owns_both_and_gives_back_what_was_asked_for(self):
        self.lab.unplug(self.b)
        self.a.wait_state("ACTIVE", "api")
        self.assertEqual(self.a.state("web"), "ACTIVE")
        self.assertTrue(self.a.holds_vip(OTHER))
        self.assertRegex(self.lab.curl("http://%s/" % OTHER).stdout, "^web[12] 10.77.0.2 ")
        self.lab.plug(self.b)
        self.b.wait_state("ACTIVE", "api", 20)
        self.assertEqual(self.a.state("web"), "ACTIVE", "failback of one group moved the other")
        wait_for("one owner", lambda: not self.a.holds_vip(OTHER) and self.b.holds_vip(OTHER))

    def test_a_switchover_of_one_group_leaves_the_other(self):
        self.a.ask("agent", "switchover", {"group": "web"})
        self.b.wait_state("ACTIVE", "web")
        self.assertEqual(self.b.state("api"), "ACTIVE")
        self.a.wait_state("STANDBY", "web")
        self.b.ask("agent", "switchover", {"group": "web"})
        self.a.wait_state("ACTIVE", "web")
        self.assertEqual(self.b.state("api"), "ACTIVE")

    def test_a_switchover_of_an_unknown_group_is_refused_with_the_nearest(self):
        answer = self.a.rpc("agent", "switchover", {"group": "wbe"})
        self.assertIn("web", answer["error"]["message"])
        self.assertEqual((self.a.state("web"), self.b.state("api")), ("ACTIVE", "ACTIVE"))


if __name__ == "__main__":
    main()
