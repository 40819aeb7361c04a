// Package callback receives the calls by which instances of the paper
// artefact's form say that they are ready: GET or POST /ready/ID, without
// credentials. What makes such a call count is that it comes from exactly the
// address of the instance with that ID.
//
// Its servers stand where untrusted functions reach them, so that heads,
// times and connections, in all and of each address, are bounded and nothing
// else is answered. It knows nothing of sandboxes.
package callback
