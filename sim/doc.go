// Package sim holds no code of its own: its tests let the real agent, replica, fold,
// liveness and observer live in a simulated world, and replay from a number.
//
//	seed ─→ scheduler ─one step at a time→ registries, stream, network   simulated
//	                                         │ their interfaces
//	                     edge.Agent, replica.Replica, observer.Observer   real
//	                                         │ what stands, what is shown
//	                                      checker                         the invariants
//
// What it promises: every call from the real code into the simulated world waits until
// the scheduler lets it take effect, fail, or hang; time passes when the scheduler says
// so; after every step the invariants of the design hold, or the run fails and says how
// to see it again. What it can't show is in docs/simulation.md.
package sim
