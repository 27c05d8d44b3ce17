package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Whoever takes over holds the same, under the same id, for as long as it was said.
func TestWhatIsHeldBackOutlivesItsAgent(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(w *world, b registry.Brake)
		after     func(t *testing.T, w *world, b registry.Brake)
	}{
		"it passes in its time": {
			after: func(t *testing.T, w *world, b registry.Brake) {
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if s := w.agents[1].Status(); s.Brake.ID != b.ID || s.Brake.Services != 50 {
					t.Errorf("the status says %+v, want %s", s.Brake, b.ID)
				}
				if n := len(w.notes()); n != 1 {
					t.Errorf("%d notes", n)
				}
				time.Sleep(time.Until(b.Until) - time.Second)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				w.ends(t, b.ID, registry.BrakePassed)
			},
		},
		"it was approved meanwhile": {
			meanwhile: func(w *world, b registry.Brake) { w.decide(registry.Approve, b.ID) },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakeApproved) },
		},
		"it was rejected meanwhile": {
			meanwhile: func(w *world, b registry.Brake) { w.decide(registry.Reject, b.ID) },
			after: func(t *testing.T, w *world, b registry.Brake) {
				time.Sleep(time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, _ := w.heldBack(); got.State != registry.BrakeRejected || got.ID != b.ID {
					t.Errorf("%+v", got)
				}
			},
		},
		"the cluster left meanwhile": {
			meanwhile: func(w *world, _ registry.Brake) { w.leave(false) },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakeLeft) },
		},
		"all came back meanwhile": {
			meanwhile: func(w *world, _ registry.Brake) { w.catalogue.replace(services(100)...) },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakeReturned) },
		},
		"nearly all came back meanwhile": {
			meanwhile: func(w *world, _ registry.Brake) { w.catalogue.replace(services(95)...) },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakePassed) },
		},
		"more went meanwhile": {
			meanwhile: func(w *world, _ registry.Brake) { w.catalogue.replace(services(49)...) },
			after: func(t *testing.T, w *world, b registry.Brake) {
				time.Sleep(3 * time.Second)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, _ := w.heldBack(); got.State != registry.BrakeHeld || got.ID == b.ID || got.Services != 51 {
					t.Errorf("%+v", got)
				}
			},
		},
		"it was rejected, and more went meanwhile": {
			meanwhile: func(w *world, b registry.Brake) {
				w.decide(registry.Reject, b.ID)
				w.catalogue.replace(services(49)...)
			},
			after: staysWhole,
		},
		"more went, and it was rejected later": {
			meanwhile: func(w *world, _ registry.Brake) { w.catalogue.replace(services(49)...) },
			after: func(t *testing.T, w *world, b registry.Brake) {
				time.Sleep(3 * time.Second)
				w.decide(registry.Reject, b.ID)
				staysWhole(t, w, b)
			},
		},
		"the brake is off by then": {
			meanwhile: func(w *world, _ registry.Brake) { w.brake.Off = true },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakePassed) },
		},
		"it has less time by then": {
			meanwhile: func(w *world, _ registry.Brake) { w.brake.PassAfter = time.Minute },
			after: func(t *testing.T, w *world, b registry.Brake) {
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				time.Sleep(time.Minute)
				w.ends(t, b.ID, registry.BrakePassed)
			},
		},
		"its time is long over": {
			meanwhile: func(*world, registry.Brake) { time.Sleep(time.Hour) },
			after:     func(t *testing.T, w *world, b registry.Brake) { w.ends(t, b.ID, registry.BrakePassed) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a := w.start("one")
				b := w.lose(t)
				time.Sleep(5 * time.Minute)
				a.kill()
				<-a.ended
				if test.meanwhile != nil {
					test.meanwhile(w, b)
				}
				w.start("two")
				time.Sleep(30 * time.Second) // the lease lapses
				synctest.Wait()
				test.after(t, w, b)
			})
		})
	}
}

// staysWhole: what was rejected is part of what is held now, so that does not pass by itself.
func staysWhole(t *testing.T, w *world, b registry.Brake) {
	time.Sleep(time.Hour)
	w.mustStand(t, registry.NewSnapshot("", services(100)...))
	if got, _ := w.heldBack(); got.State != registry.BrakeHeld || got.ID == b.ID || got.Services != 51 || !got.Until.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestARejectionOutlivesItsAgentThoughMoreWent(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.lose(t)
		w.decide(registry.Reject, b.ID)
		time.Sleep(5 * time.Second)
		a.stop()
		w.catalogue.replace(services(49)...)
		w.start("two")
		staysWhole(t, w, b)
	})
}

// What is left is less than what would be held by itself: it stands none the less,
// because somebody said that it is not gone.
func TestARejectionOutlivesItsAgentThoughAPartCameBack(t *testing.T) {
	for name, left := range map[string]int{"little is left": 95, "much is left": 60, "little went as well": 91} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a := w.start("one")
				b := w.lose(t)
				w.decide(registry.Reject, b.ID)
				time.Sleep(5 * time.Second)
				a.stop()
				listed := services(left)
				if name == "little went as well" {
					listed = listed[1:]
				}
				w.catalogue.replace(listed...)
				w.start("two")
				time.Sleep(2 * time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				got, _ := w.heldBack()
				if got.State != registry.BrakeRejected || got.ID != b.ID || got.Services != 100-len(listed) || got.By != "ada" || !got.Until.IsZero() {
					t.Errorf("%+v", got)
				}
				w.catalogue.replace(services(100)...)
				w.ends(t, b.ID, registry.BrakeReturned)
			})
		})
	}
}

// The order came while nobody was there to note it. What is left is little by itself, and
// went although somebody had said that it is not gone.
func TestARejectionWhileNoAgentRanCountsThoughAPartCameBack(t *testing.T) {
	for name, test := range map[string]struct {
		left     int
		deaf     bool
		decision string
	}{
		"little is left":                   {95, false, registry.Reject},
		"little is left, orders come late": {95, true, registry.Reject},
		"nobody decided, orders come late": {95, true, ""},
		"much is left":                     {60, false, registry.Reject},
		"much is left, orders come late":   {60, true, registry.Reject},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a, hear := w.start("one"), make(chan struct{})
				b := w.lose(t)
				a.kill()
				<-a.ended
				if test.decision != "" {
					w.decide(test.decision, b.ID)
				}
				w.catalogue.replace(services(test.left)...)
				a = w.prepare("two")
				if test.deaf {
					a.link.deaf = hear
				}
				a.run()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				close(hear)
				if test.decision == "" {
					w.ends(t, b.ID, registry.BrakePassed)
					return
				}
				time.Sleep(2 * time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, open := w.heldBack(); !open || !got.Until.IsZero() {
					t.Errorf("%+v", got)
				}
				w.catalogue.replace(services(100)...)
				got, _ := w.heldBack()
				w.ends(t, got.ID, registry.BrakeReturned)
			})
		})
	}
}

// Who flaps from agent to agent while a little goes now and then would keep for ever what
// is gone.
func TestALittleMoreThatWentDuringATakeoverGetsNoNewTime(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.lose(t)
		for n := range 3 {
			time.Sleep(3 * time.Minute)
			a.stop()
			w.catalogue.replace(services(49 - n)...)
			a = w.start("two")
			time.Sleep(5 * time.Second)
			w.mustStand(t, registry.NewSnapshot("", services(100)...))
			got, _ := w.heldBack()
			if !got.Until.Equal(b.Until) || !got.Since.Equal(b.Since) || got.Services != 51+n {
				t.Errorf("%+v, want it to pass at %v", got, b.Until)
			}
		}
		time.Sleep(time.Until(b.Until))
		got, _ := w.heldBack()
		w.ends(t, got.ID, registry.BrakePassed)
	})
}

// The time of the former is over, and it has another id: an order about it must have a
// moment to be given.
func TestALittleMoreThatWentAfterItsTimeCanBeRejected(t *testing.T) {
	for name, rejected := range map[string]bool{"rejected": true, "nobody decided": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a := w.start("one")
				b := w.lose(t)
				time.Sleep(time.Minute)
				a.stop()
				time.Sleep(time.Hour)
				w.catalogue.replace(services(49)...)
				w.start("two")
				time.Sleep(50 * time.Second)
				synctest.Wait()
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				got, open := w.heldBack()
				if !open || got.ID == b.ID {
					t.Fatalf("%+v", got)
				}
				if rejected {
					w.decide(registry.Reject, got.ID)
					time.Sleep(time.Hour)
					w.mustStand(t, registry.NewSnapshot("", services(100)...))
					return
				}
				time.Sleep(15 * time.Second)
				w.ends(t, got.ID, registry.BrakePassed)
			})
		})
	}
}

// Much more is another loss: somebody is to have the whole time to look at it.
func TestMuchMoreThatWentDuringATakeoverGetsItsOwnTime(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.lose(t)
		time.Sleep(10 * time.Minute)
		a.stop()
		w.catalogue.replace(services(10)...)
		w.start("two")
		time.Sleep(5 * time.Second)
		if got, _ := w.heldBack(); got.Until.Sub(b.Until) < 10*time.Minute-time.Second || got.Services != 90 {
			t.Errorf("%+v, want it to pass 10 min after %v", got, b.Until)
		}
	})
}

// Its time is over when the next agent starts, and orders come to that one late: nobody
// knows yet whether it was rejected.
func TestWhatIsHeldBackPassesOnlyOnceOrdersWereHeard(t *testing.T) {
	for name, test := range map[string]struct {
		restarts bool   // the agent; else its watch of orders begins anew
		decision string // given meanwhile; "": none
		state    registry.BrakeState
	}{
		"rejected while no agent ran":       {true, registry.Reject, registry.BrakeRejected},
		"nobody decided while no agent ran": {true, "", registry.BrakePassed},
		"rejected while nobody listened":    {false, registry.Reject, registry.BrakeRejected},
		"nobody decided nor listened":       {false, "", registry.BrakePassed},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a, hear := w.start("one"), make(chan struct{})
				b := w.lose(t)
				time.Sleep(5 * time.Minute)
				if test.restarts {
					a.kill()
					<-a.ended
				} else {
					a.link.set(func(k *link) { k.deaf = hear; k.hush(errLink) })
				}
				if test.decision != "" {
					w.decide(test.decision, b.ID)
				}
				time.Sleep(time.Hour)
				if test.restarts {
					a = w.prepare("two")
					a.link.deaf = hear
					a.run()
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				close(hear)
				if test.state == registry.BrakePassed {
					w.ends(t, b.ID, test.state)
					return
				}
				time.Sleep(time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, _ := w.heldBack(); got.State != test.state || got.ID != b.ID {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// An ordered resync is a new epoch, and no new hold.
func TestWhatIsHeldBackOutlivesAResync(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		time.Sleep(20 * time.Second)
		b := w.lose(t)
		w.memory.order(cluster, "somebody")
		time.Sleep(20 * time.Second)
		if n := len(w.epochs()); n != 2 {
			t.Fatalf("%d epochs", n)
		}
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		if s := a.Status(); s.Brake.ID != b.ID || s.Brakes != 1 {
			t.Errorf("%+v, %d", s.Brake, s.Brakes)
		}
	})
}

// What goes while no agent runs is held by the next one.
func TestAFirstReadingThatLacksMuchIsHeldBack(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one").stop()
		w.catalogue.replace()
		w.start("two")
		time.Sleep(5 * time.Second)
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		b, _ := w.heldBack()
		if b.Services != 100 {
			t.Errorf("%+v", b)
		}
		w.decide(registry.Approve, b.ID)
		w.ends(t, b.ID, registry.BrakeApproved)
	})
}

// A backup that is restored knows nothing of the hold, or an older word about it, and
// perhaps not all that is held: the agent knows better.
func TestWhatIsHeldBackOutlivesARestoredBackup(t *testing.T) {
	for name, test := range map[string]struct {
		grown    bool // a part of what is held is younger than the backup
		rejected bool
		told     bool // the backup has the first note
	}{
		"it waits":                             {},
		"it waits, and a part of it is young":  {grown: true},
		"it was rejected":                      {rejected: true},
		"it was rejected, and a part is young": {grown: true, rejected: true},
		"it was rejected after the backup":     {rejected: true, told: true},
	} {
		t.Run(name, func(t *testing.T) {
			first := 100
			if test.grown {
				first = 60
			}
			inWorld(t, newWorld(services(first)...), func(t *testing.T, w *world) {
				w.start("one")
				time.Sleep(time.Hour)
				kept := len(w.memory.history())
				w.catalogue.replace(services(100)...)
				time.Sleep(time.Hour)
				b := w.lose(t)
				if test.told {
					kept = len(w.memory.history())
				}
				if test.rejected {
					w.decide(registry.Reject, b.ID)
					time.Sleep(5 * time.Second)
				}
				b, _ = w.heldBack()
				w.memory.cut(len(w.memory.history()) - kept)
				time.Sleep(time.Minute)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, open := w.heldBack(); !open || got.ID != b.ID || got.State != b.State || got.Services != 50 || !got.Until.Equal(b.Until) {
					t.Errorf("%+v, want %+v", got, b)
				}
				if test.rejected {
					time.Sleep(2 * time.Hour)
					w.mustStand(t, registry.NewSnapshot("", services(100)...))
				}
			})
		})
	}
}

// What was withdrawn before is no loss when a backup shows it again.
func TestARestoredBackupBringsNoGhosts(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		kept := len(w.memory.history())
		b := w.lose(t)
		w.decide(registry.Approve, b.ID)
		w.ends(t, b.ID, registry.BrakeApproved)
		w.memory.cut(len(w.memory.history()) - kept)
		time.Sleep(time.Minute)
		w.mustEqual(t, w.catalogue.now())
	})
}

// A stream that is lost while much is held does not withdraw it: the agent publishes
// what is held with all else, and tells of it again.
func TestWhatIsHeldBackOutlivesTheStream(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		b := w.lose(t)
		if report := w.audit(); report != "" {
			t.Fatal(report)
		}
		w.memory.recreate(10_000, true)
		time.Sleep(time.Minute)
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		if got, open := w.heldBack(); !open || got.ID != b.ID || got.Services != 50 || !got.Until.Equal(b.Until) {
			t.Errorf("%+v", got)
		}
		w.decide(registry.Approve, b.ID)
		w.ends(t, b.ID, registry.BrakeApproved)
	})
}
