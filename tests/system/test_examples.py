#!/usr/bin/env python3
"""The files in examples/ are good: both daemons say so, with certificates and a key put where they are named."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from rig import BUILD

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def put_files(directory):
    os.mkdir(os.path.join(directory, "certs"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", os.path.join(directory, "certs/a.key"), "-out", os.path.join(directory, "certs/a.crt"),
                    "-days", "60", "-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com"],
                   check=True, stderr=subprocess.DEVNULL)
    shutil.copy(os.path.join(TREE, "examples", "scale-servers"), directory)
    for name in ("pair.key", "register.token"):
        with open(os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("0123456789abcdef" * 4 + "\n")


class Examples(unittest.TestCase):
    def test_both_daemons_take_them(self):
        names = sorted(glob.glob(os.path.join(TREE, "examples", "*.yaml")))
        self.assertGreaterEqual(len(names), 4)
        with tempfile.TemporaryDirectory() as directory:
            put_files(directory)
            for name in names:
                with open(name, encoding="utf-8") as f:
                    text = f.read().replace("/etc/tandem/", directory + "/")
                text = re.sub(r"/etc/tandem\b", directory, text)
                where = os.path.join(directory, os.path.basename(name))
                with open(where, "w", encoding="utf-8") as f:
                    f.write(text)
                for program in ("proxy/tandem-proxy", "failover/tandem-failover"):
                    if program.startswith("failover") and "\nfailover:" not in text:
                        continue
                    said = subprocess.run([os.path.join(BUILD, program), "--check", "-c", where, "--node", "lb-a"],
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                    self.assertEqual((said.returncode, said.stdout), (0, ""), "%s: %s" % (name, program))


if __name__ == "__main__":
    unittest.main()
