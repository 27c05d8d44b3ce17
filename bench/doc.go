// Command bench measures Seamark as its users meet it: real daemons, built without the race detector, on real Consul,
// Nacos and NATS servers, all on one machine.
//
//	go run ./bench [--only NAME,…] [--quick] [--out DIR]
//
// It prints one table with each figure, what it is to reach and whether it does, and writes for each measurement a page
// NAME.md, with machine, versions, commit and load, and a summary of the samples as NAME.json. What is measured, and
// how, is in docs/performance.md.
//
// What it promises:
//   - Figures that are compared come from one run, sample by sample in turn, so that a change of the machine's speed
//     meets both.
//   - A time begins before the change is sent to the registry and ends when its effect was received. It contains what
//     the measurement itself costs; how finely it can tell is part of the result.
//   - It ends by itself: every wait has a bound, and so has the whole. Interrupting it stops all that it started.
//
// What it does not: it makes no machine quiet. The load average before and after is in every page; figures taken on a
// busy machine say little, only their ratios may. Memory, processor time and connections of other processes are read
// from /proc, so on other systems than Linux they are missing.
package main
