package registry

// SupposeDrained returns the View as it would be if a service were drained by itself in
// exactly these clusters, by force where that is true. Only what is decided of this
// service may be asked of it ([View.Decide]): of others, no such drain is known to it.
func (v *View) SupposeDrained(l Labels, drains map[ClusterID]bool) *View {
	var supposed orders
	if v.orders != nil {
		supposed = *v.orders
	} else if len(drains) == 0 {
		return v
	}
	supposed.services = map[serviceAt]*StandingOrder{}
	for id, force := range drains {
		supposed.services[serviceAt{id, l}] = &StandingOrder{Order: Order{Kind: OrderDrain, Target: DrainTarget(id, "", l), Force: force}}
	}
	other := *v
	other.orders, other.origin = &supposed, nil
	return &other
}
