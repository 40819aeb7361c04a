// Package record keeps what the laboratory measures: samples as they were
// taken, never changed afterwards, and the facts of the host they were taken
// on. Statistics and figures are made from them elsewhere.
//
// A run is a folder. Its file samples.jsonl has one JSON object on each line,
// appended as samples are taken; host.json has the facts; both are for others'
// programs, too. The package measures nothing.
package record
