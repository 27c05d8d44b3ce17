// Package proc is what the daemons share around their work: the command line,
// logging, signals, the version, the HTTP server and the life of the parts.
//
// What it promises:
//
//   - A command tells about itself: --help with examples, --version, completion,
//     check. Errors go to stderr, in one sentence, with what to do next. Exit
//     codes: 0 done, 1 failed while running, 2 wrong usage or configuration.
//   - SIGINT and SIGTERM end the context with a cause; a second one ends the
//     process at once. SIGHUP, or a change of the configuration file, asks for a
//     reload.
//   - Parts that run side by side end together ([Run]), and everything that this
//     package starts has ended when its function returns.
//   - The HTTP server has a limit for everything a client can drag out.
//
// What it does not promise: it knows no configuration's meaning, and it decides
// nothing that a daemon could decide differently.
package proc
