// Package pool decides which instance serves a request: it keeps warm
// instances, queues requests, starts instances as demand and memory allow,
// and stops them when they are no longer worth their room.
//
// It knows instances only through [sandbox.Instance] and starts them only
// through its [Launcher]. It must not know sandboxes, images, HTTP routes or
// where functions come from.
//
// Locks are taken in this order and never the other way: Pool.mu (starts),
// index.mu (which groups exist), group.mu (one revision's instances and
// queue). A request that finds a warm instance takes a group's mutex only.
// What must be done without a group's mutex is collected as effects while it
// is held and applied after.
package pool
