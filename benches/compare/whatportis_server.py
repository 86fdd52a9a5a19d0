"""whatportis's own server, with the registry's file from another place than IANA's.

usage: whatportis_server.py URL_OF_THE_CSV PORT    (its database goes to $HOME)
"""

import sys

import whatportis.cli

whatportis.cli.IANA_CSV_FILE, port = sys.argv[1:]
whatportis.cli.run(["--server", "127.0.0.1", port])
