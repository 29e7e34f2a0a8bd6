"""Ask the Service of a release whether it is ready: `helm test` runs this in a pod."""

import os
import socket
import ssl
import urllib.request

host, port, speaks = os.environ["HOST"], int(os.environ["PORT"]), os.environ["SPEAKS"]
with socket.create_connection((host, port), 10):
    print(f"{host}:{port} is open")
if speaks != "tcp":
    trust = ssl._create_unverified_context() if speaks == "https" else None
    with urllib.request.urlopen(f"{speaks}://{host}:{port}/health/ready", timeout=10, context=trust) as answer:
        print(answer.read().decode())
