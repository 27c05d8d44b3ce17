// Package api is global-dns's HTTP interface for people and programs: JSON, read
// only.
//
//	GET /v1/status
//	GET /v1/clusters
//	GET /v1/services?namespace=&name=&cluster=
//	GET /v1/services/{namespace}/{name}
//	GET /v1/resolve?name=&type=            with &at= as /v1/audit/resolve
//	GET /v1/audit/log?cluster=&service=&kind=&since=&until=&limit=&newest=
//	GET /v1/audit/at?at=&service=&limit=
//	GET /v1/audit/diff?from=&to=&service=&limit=
//	GET /v1/audit/blame?service=&at=
//	GET /v1/audit/resolve?at=&name=&type=
//
// What it promises:
//
//   - The shapes and names of its JSON are the product's interface: fields are
//     added, never renamed or removed, within v1.
//
//   - One answer shows one View. Lists are sorted, so equal Views give equal bytes;
//     ages of leases aside, which are not the View's.
//
//   - Whatever goes wrong is told as problem details (RFC 9457). While the registry
//     is not synced, what would be a list or a "not found" is 503: an answer that
//     is not known is not an empty one.
//
//   - Names in a path or query are those of the registry, escaped as a URL needs it.
//
//   - Questions about the history are bounded: in what they tell, in time (504), and in
//     how many are answered at once (503), one that may read much at a time.
//
// What it does not do: changing anything, authentication, health and metrics
// endpoints, deciding what DNS answers.
package api
