"""What stands between the service and the network: TLS, proxies, host names, browsers of other origins, HTTP/1.0."""
