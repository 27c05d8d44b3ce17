// Package file is the source for clusters whose registry is one YAML file.
//
//	services:
//	  - name: orders
//	    namespace: shop               # default: default
//	    instances:
//	      - id: orders-1              # default: address:port
//	        address: 192.0.2.11
//	        port: 8080
//	        weight: 1                 # default
//	        health: passing           # default; or warning, critical, unknown
//	        version: 1.4.2
//	        meta: {team: red}
//
// What it promises:
//
//   - A change is noticed by the file system's notifications: of the file, of the
//     rename by which editors replace it, and of the link by which Kubernetes
//     swaps a ConfigMap. Where there are none (network file systems, exhausted
//     limits), the file is looked at every two seconds.
//   - A file that cannot be understood as a whole (half-written, not YAML, an
//     unknown key, a number that is none) changes nothing: the last good catalog
//     stands, and the fault is told with line and field. A file that is gone, or
//     cannot be opened, for longer than a rename takes ends the watch with an
//     error. Neither is ever taken for an empty catalog; that is written
//     "services: []".
//   - A single entry that does not pass the registry's door is refused and told;
//     the others stand.
//   - The file is bounded in size, nesting and in what its aliases expand to.
//     No content panics.
//
// What it does not promise: a file that is rewritten in place can be seen when it
// is half there and still valid. Writes are awaited, and a catalog that shrinks is
// read twice, but only a replacement by rename is safe. Instance addresses are
// not resolved or reached.
package file
