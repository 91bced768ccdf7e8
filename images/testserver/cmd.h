/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the subcommands, sorted by name. Each cmd_<name>.c holds one; main.c reads this table.
 *
 * argv[0] is the subcommand's name as it was called. The result is the exit code.
 */
#ifndef TESTSERVER_CMD_H
#define TESTSERVER_CMD_H

#define COMMANDS(X)                                                                                          \
	X(connect, "connect", "try a connection and say what became of it")                                  \
	X(curl, "curl", "one HTTP request")                                                                  \
	X(dig, "dig", "ask a DNS server")                                                                    \
	X(dns_server_list, "dns-server-list", "print the name servers of resolv.conf")                       \
	X(dns_suffix, "dns-suffix", "print the search list of resolv.conf")                                  \
	X(entrypoint_tester, "entrypoint-tester", "print the words it was started with")                     \
	X(etc_hosts, "etc-hosts", "print /etc/hosts")                                                        \
	X(getent, "getent", "find the addresses of a name")                                                  \
	X(grpc_health_checking, "grpc-health-checking", "the gRPC health service, steered over HTTP")           \
	X(guestbook, "guestbook", "a web front, a store and its copies")                                     \
	X(inclusterclient, "inclusterclient", "ask the API server's /healthz again and again, as a pod")      \
	X(liveness, "liveness", "a web server that is well for ten seconds")                                 \
	X(logs_generator, "logs-generator", "print numbered lines evenly over a time")                       \
	X(mounttest, "mounttest", "make files, and tell file systems, modes, owners and contents")           \
	X(nc, "nc", "join stdin and stdout to a connection")                                                  \
	X(netexec, "netexec", "HTTP and UDP endpoints to ask and steer a pod")                               \
	X(nettest, "nettest", "count the messages of other pods")                                            \
	X(pause, "pause", "wait for SIGTERM")                                                                \
	X(port_forward_tester, "port-forward-tester", "serve one connection with known pieces of data")       \
	X(porter, "porter", "serve the values of SERVE_PORT_<n> on their ports")                             \
	X(serve, "serve", "a web server that answers its host name and version; drains when it ends")        \
	X(serve_hostname, "serve-hostname", "answer the host name over HTTP, TCP or UDP")                    \
	X(test_webserver, "test-webserver", "serve files")

#define X(fn, name, help) int cmd_##fn(int argc, char **argv);
COMMANDS(X)
#undef X

/* The words of the whole command line. */
extern int main_argc;
extern char **main_argv;

#endif
