// Package config reads the configuration of the daemons.
//
// A configuration is a struct. Its yaml tags name the keys, its default tags say
// what stands when nothing is given, its help tags describe the flags. Values
// come from four places, each stronger than the one before: the default, the
// YAML file, the environment (SEAMARK_NATS_CREDENTIALS for nats.credentials),
// the flags (--nats-credentials). A struct within a struct is a section of its own, but
// where its tag is yaml:",inline": then its keys are those of the section around it, so
// that what several sections have in common is declared once.
//
// What it promises:
//
//   - All faults are told at once. Each names the place (file and line, variable
//     or flag), the field, what is wrong and what would be right.
//   - Nothing is passed over: an unknown key, a key given twice, a second
//     document, a number where a list belongs are faults.
//   - A file is bounded in size, depth and, through its aliases, in what it
//     expands to. No input panics.
//   - A secret ([Secret]) comes from the environment or a file that the
//     configuration names, never from a flag, and is never printed.
//
// What it does not promise: it does not know what the values mean. Whoever owns
// the struct checks them and adds what is wrong with [Report.Add].
package config
