"""Runs the server of whatportis with a registry file from another URL than IANA's.

usage: whatportis_server.py URL_OF_THE_CSV PORT    (its database is stored in $HOME)
"""

import sys

import whatportis.cli

whatportis.cli.IANA_CSV_FILE, port = sys.argv[1:]
whatportis.cli.run(["--server", "127.0.0.1", port])
