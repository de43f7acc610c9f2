// Package redis is the [tandem.Queue] on a Redis or Valkey server, 6.2 or newer: for programs that have one already and want Tandem's leases on it.
//
// Promises, beyond those of tandem.Queue:
//
//   - Each operation is one script, so one round trip, and all of it happens or none: a killed client leaves nothing half done. Everything about a queue lies
//     under one hash tag, {tandem:NAME}, so in one slot of a cluster.
//   - A lease carries a number that the server gives and checks by its own clock: a late Done, Extend, Retry, Release or Kill always fails with tandem.ErrLost,
//     whatever the holder's clock says. NotBefore is compared with the server's clock.
//   - Safety is the server's: a killed client loses nothing at any setting. With appendonly and appendfsync always neither does a killed server or a power cut,
//     with everysec up to two seconds, without appendonly everything since the last snapshot. Engine.Safety tells which it is. A replica that takes over may lack what
//     had not reached it yet. A server that may evict keys is refused.
//   - A blocked Put and a waiting Take are woken by a message of the server, and look again each second should it be lost. An open queue owns one goroutine
//     and one connection for that; Close waits for both.
//   - Bytes count what the driver adds to each body, about 20 bytes and the header. A message that only fits by its body is let into an empty queue.
package redis
